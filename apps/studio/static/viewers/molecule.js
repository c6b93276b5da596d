// Molecules and proteins in space by Mol*; small molecules also flat, where the page sends drawings.
{
  const { register, main, make, button, choice, now } = globalThis.frame;
  const STYLES = { "": "As fits", "preset-structure-representation-polymer-and-ligand": "Cartoon", "preset-structure-representation-atomic-detail": "Atoms and bonds",
    "preset-structure-representation-molecular-surface": "Surface" };
  const COLOURS = { default: "As fits", "chain-id": "Chain", "element-symbol": "Element", "secondary-structure": "Secondary structure", "sequence-id": "Along the chain",
    uncertainty: "Doubt (B-factor)", "plddt-confidence": "Confidence (pLDDT)" };
  const MOST_MOLECULES = 1000, SMALL = new Set(["sdf", "xyz"]);
  let plugin = null, molecules = [], format = "", chosen = 0, style = "", colour = "default", title = "";
  let flat = null, sketches = [];

  function formatOf(text) {
    if (/^(?:.*\r?\n){3}.*V[23]000/.test(text)) return "sdf";
    if (/^_atom_site\./m.test(text)) return "mmcif";
    if (/^(?:ATOM  |HETATM)/m.test(text)) return "pdb";
    if (/^\s*\d+[ \t]*\r?\n/.test(text)) return "xyz";
    throw new Error("it holds no atoms that are known here");
  }
  // Parts of an SD file that hold a molecule, each as it stands.
  const split = (text) => text.split(/^\$\$\$\$.*$\r?\n?/m).filter((part) => /V[23]000/.test(part)).slice(0, MOST_MOLECULES).map((part) => `${part}\n$$$$\n`);

  async function load() {
    await plugin.clear();
    const data = await plugin.builders.data.rawData({ data: molecules[chosen], label: title });
    const trajectory = await plugin.builders.structure.parseTrajectory(data, format);
    await plugin.builders.structure.hierarchy.applyPreset(trajectory, "default", style ? { representationPreset: style } : undefined);
    if (!plugin.managers.structure.hierarchy.current.structures.length) throw new Error("Mol* finds no structure in it");
    await paint();
  }
  // Small molecules in the colours of Corey, Pauling and Koltun, carbon too; chains of proteins in colours of their own.
  async function paint() {
    const name = colour === "default" && SMALL.has(format) ? "element-symbol" : colour;
    if (name === "default") return;
    const components = plugin.managers.structure.hierarchy.current.structures.flatMap((structure) => structure.components);
    const plainCarbon = name === "element-symbol" ? { colorParams: { carbonColor: { name: "element-symbol", params: {} } } } : {};
    await plugin.managers.structure.component.updateRepresentationsTheme(components, { color: name, ...plainCarbon });
  }
  function ground() {
    const paper = /^#([0-9a-f]{6})$/i.exec(now.colours.sheet ?? "");
    plugin?.canvas3d?.setProps({ renderer: { backgroundColor: paper ? parseInt(paper[1], 16) : 0xffffff }, cameraResetDurationMs: now.calm ? 0 : 250,
      camera: { helper: { axes: { name: "off", params: {} } } } });
  }
  // The longest extent lies across, the shortest towards the eye.  Mol* comes back to the whole at its next picture, and
  // turns what it shows then.
  const picture = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const whole = () => {
    const { radius } = plugin.canvas3d.boundingSphereVisible;
    return radius > 0 && Math.abs(plugin.canvas3d.camera.getSnapshot().radius / radius - 1) < 0.05;
  };
  async function orient() {
    plugin.canvas3d.commit(true);
    plugin.canvas3d.requestCameraReset({ durationMs: 0 });
    for (let i = 0; i < 3 || (i < 200 && !whole()); i++) await picture();
    plugin.managers.camera.orientAxes(undefined, 0);
    await picture();
  }

  // Draws anew from where one looks.
  async function reload() {
    const before = plugin.canvas3d.camera.getSnapshot();
    await load();
    plugin.canvas3d.commit(true);
    for (let i = 0; i < 3; i++) await picture();
    plugin.canvas3d.camera.setState(before, 0);
  }

  // Turns about the axis that is upright, or about the one that lies across, and comes nearer by a factor.
  function turn(across, upright, nearer = 1) {
    const camera = plugin.canvas3d.camera, { position, target, up } = camera.getSnapshot();
    const minus = (a, b) => a.map((v, i) => v - b[i]), cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0), unit = (a) => a.map((v) => v / Math.hypot(...a));
    const rotate = (v, axis, angle) => { // Rodrigues
      const c = Math.cos(angle), s = Math.sin(angle), k = cross(axis, v), d = dot(axis, v) * (1 - c);
      return v.map((value, i) => value * c + k[i] * s + axis[i] * d);
    };
    let arm = minus([...position], [...target]), head = unit([...up]);
    arm = rotate(arm, head, across);
    const side = unit(cross(head, arm));
    [arm, head] = [rotate(arm, side, upright), rotate(head, side, upright)];
    camera.setState({ position: arm.map((v, i) => v / nearer + target[i]), up: head }, now.calm ? 0 : 120);
  }

  function build(stage) {
    const bar = make("div", { class: "bar" },
      button("−", () => turn(0, 0, 1 / 1.3), { "aria-label": "Farther" }), button("+", () => turn(0, 0, 1.3), { "aria-label": "Nearer" }),
      button("Reset", () => act(orient)),
      choice("Style", STYLES, (value) => act(async () => { style = value; await reload(); })),
      choice("Colour", COLOURS, (value) => act(async () => { colour = value; if (value === "default") await reload(); else await paint(); })));
    if (molecules.length > 1) {
      const words = make("output", {}, `1 of ${molecules.length}`);
      const go = (by) => act(async () => {
        chosen = (chosen + by + molecules.length) % molecules.length;
        words.textContent = `${chosen + 1} of ${molecules.length}`;
        drawFlat();
        await load();
        await orient();
      });
      bar.append(button("Previous", () => go(-1), { "aria-label": "Previous molecule" }), words, button("Next", () => go(1), { "aria-label": "Next molecule" }));
    }
    problem = make("span", { class: "words", role: "status" });
    bar.append(problem);
    main().append(bar);
    stage.addEventListener("keydown", (event) => {
      const by = event.shiftKey ? 0.5 : 0.15;
      const move = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by], "+": [0, 0, 1.2], "=": [0, 0, 1.2], "-": [0, 0, 1 / 1.2] }[event.key];
      if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      turn(...move);
    });
    return bar;
  }
  let problem = null, bar = null, busy = Promise.resolve();
  // One change after the other; what fails is said, and what was there stays.
  function act(change) {
    busy = busy.then(change).then(() => { problem.textContent = ""; }, () => { problem.textContent = "That cannot be drawn for this molecule."; });
  }
  function drawFlat() {
    if (!flat) return;
    const text = sketches[chosen];
    flat.hidden = !text || !flatShown;
    const old = flat.firstChild;
    if (old) URL.revokeObjectURL(old.src);
    flat.replaceChildren(...(text ? [make("img", { alt: `Flat drawing of ${title}`, src: URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })) })] : []));
  }
  let flatShown = innerWidth > 480;
  // Whichever is there later, the view in space or the flat drawings, makes the button.
  function offerFlat() {
    if (!bar || !sketches.length) return;
    const toggle = button("Flat drawing", () => {
      flatShown = !flatShown;
      toggle.setAttribute("aria-pressed", String(flatShown));
      drawFlat();
    }, { "aria-pressed": String(flatShown) });
    bar.append(toggle);
    drawFlat();
  }

  register({
    async show([file]) {
      const text = new TextDecoder().decode(file.data);
      title = file.title;
      format = formatOf(text);
      molecules = format === "sdf" ? split(text) : [text];
      if (!molecules.length) throw new Error("it holds no molecule");
      if (!make("canvas").getContext("webgl2")) throw new Error("this browser draws nothing in space (WebGL is off)");
      const stage = make("div", { class: "stage molecule", tabindex: 0, role: "application",
        "aria-label": `${title}, in space. Arrows turn it, plus and minus zoom.` });
      main().append(stage);
      const shown = await globalThis.molstar.Viewer.create(stage, {
        extensions: ["ma-quality-assessment"], layoutIsExpanded: false, layoutShowControls: false, layoutShowRemoteState: false, layoutShowSequence: false,
        layoutShowLog: false, layoutShowLeftPanel: false, viewportShowExpand: false, viewportShowControls: false, viewportShowSettings: false,
        viewportShowSelectionMode: false, viewportShowAnimation: false, viewportShowTrajectoryControls: false, volumeStreamingDisabled: true,
        pluginStateServer: "", volumeStreamingServer: "",
      });
      plugin = shown.plugin;
      if (!plugin.canvas3d) throw new Error("this browser draws nothing in space (WebGL is off)");
      ground();
      await load();
      await orient();
      bar = build(stage);
      flat = make("div", { class: "flat", hidden: true });
      stage.append(flat);
      offerFlat();
    },
    look: ground,
    more(data) {
      if (!Array.isArray(data.sketches) || !data.sketches.some(Boolean)) return;
      sketches = data.sketches.map(String);
      offerFlat();
    },
  });
}
