// Volumes in three planes by NiiVue, in radiological convention: the patient's right lies on the left, and is marked.
{
  const { register, main, make, button, slider, number, now } = globalThis.frame;
  const PLANES = [["All", 3], ["Axial", 0], ["Coronal", 1], ["Sagittal", 2]]; // NiiVue's numbers
  const NO_KEY = "Unassigned";
  let whole = null, volume = null, opts = {}, vox = [0, 0, 0], dims = [1, 1, 1];

  // As much of a widget's model as NiiVue's widget asks for: values, listeners, messages.
  function model(values, send = () => {}) {
    const listeners = new Map();
    const named = (name) => listeners.get(name) ?? listeners.set(name, new Set()).get(name);
    return {
      get: (name) => values[name],
      set: (name, value) => { values[name] = value; },
      save_changes() {},
      // It is there so that what is drawn is not sent back in pieces.
      send_sync_message() {},
      on: (name, listener) => { named(name).add(listener); },
      off: (name, listener) => { if (listener) named(name).delete(listener); else named(name).clear(); },
      send,
      put(name, value) { values[name] = value; for (const listener of named(`change:${name}`)) listener(); },
      tell(type, ...data) { for (const listener of named("msg:custom")) listener({ type, data }, []); },
    };
  }
  const rgba = (name, other) => {
    const [, hex] = /^#([0-9a-f]{6})$/i.exec(now.colours[name] ?? "") ?? [null, other];
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).concat(1);
  };
  function options(changes = {}) {
    opts = { ...opts, ...changes };
    whole.put("opts", opts);
    whole.tell("draw_scene");
  }

  const where = make("output", { class: "mono grow" });
  let sliders = [];
  function hear({ event, data }) {
    if (event !== "location_change") return;
    vox = [...data.vox].map(Math.round);
    sliders.forEach((part, i) => part.set(vox[i]));
    say(data);
  }
  function say({ mm, values }) {
    const [x, y, z] = [...mm].map((v) => v.toFixed(1));
    const value = values?.[0]?.value;
    where.textContent = `x ${x}, y ${y}, z ${z} mm${value === undefined ? "" : `: ${number(value)}`}`;
  }

  function windowBar(range) {
    const span = range.high - range.low || 1, step = span / 500;
    let width = Math.max(step, range.bright - range.dark), level = (range.bright + range.dark) / 2;
    const apply = () => {
      volume.put("cal_min", level - width / 2);
      volume.put("cal_max", level + width / 2);
    };
    const words = (v) => number(v, 3);
    const levels = slider("Level", { min: range.low, max: range.high, step, value: level, say: words, oninput: (v) => { level = v; apply(); } });
    const widths = slider("Window", { min: step, max: span, step, value: width, say: words, oninput: (v) => { width = v; apply(); } });
    const set = (low, high) => { width = Math.max(step, high - low); level = (low + high) / 2; levels.set(level); widths.set(width); apply(); };
    apply();
    return make("div", { class: "bar" }, levels.row, widths.row, button("Reset window", () => set(range.dark, range.bright)), button("Full range", () => set(range.low, range.high)));
  }

  register({
    async show([file]) {
      const data = await globalThis.nifti.plain(file.data), header = globalThis.nifti.header(data), range = globalThis.nifti.range(header);
      if (!make("canvas").getContext("webgl2")) throw new Error("this browser draws no volumes (WebGL 2 is off)");
      const stage = make("div", { class: "stage volume", role: "application", "aria-label": `${file.title}, in three planes, radiological convention` });
      const id = "volume";
      volume = model({ id, path: { name: "" }, data: new Uint8Array(data), name: "volume.nii", url: "", paired_img_path: { name: "" }, paired_img_url: "", paired_img_data: null,
        colormap: "gray", opacity: 1, colormap_negative: "", colormap_type: 0, colormap_label: null, colormap_invert: false, colorbar_visible: false, frame_4d: 0,
        cal_min: range?.dark ?? null, cal_max: range?.bright ?? null, cal_min_neg: null, cal_max_neg: null, modulation_image: null, modulate_alpha: 0 });
      opts = { isRadiologicalConvention: true, sliceType: 3, multiplanarShowRender: 0, multiplanarPadPixels: 4, isOrientationTextVisible: true,
        showAllOrientationMarkers: true, backColor: [0, 0, 0, 1], fontColor: [1, 1, 1, 1], crosshairColor: rgba("accent", "5cc3d2"), crosshairWidth: 0.6, crosshairWidthUnit: "percent", dragMode: 9,
        dragAndDropEnabled: false, loadingText: "", logLevel: "error", clipPlaneHotKey: NO_KEY, cycleClipPlaneHotKey: NO_KEY, viewModeHotKey: NO_KEY };
      whole = model({ opts, volumes: [`IPY_MODEL_${id}`], meshes: [], background_masks_overlays: false, draw_lut: null, draw_opacity: 0.8, draw_fill_overwrites: true,
        graph: {}, scene: {}, overlay_outline_width: 0, overlay_alpha_shader: 1, height: 100, this_model_id: "" }, hear);
      whole.widget_manager = { get_model: async () => volume };
      main().append(stage);
      await globalThis.widget.initialize({ model: whole });
      await globalThis.widget.render({ model: whole, el: stage });
      const drawn = stage.querySelector("canvas");
      drawn.setAttribute("tabindex", "0");
      drawn.setAttribute("role", "img");
      drawn.setAttribute("aria-label", `${file.title}: axial, coronal and sagittal plane`);
      const sizes = volume.get("dims_ras");
      dims = sizes ? [...sizes].slice(1, 4) : header.dims;
      vox = dims.map((n) => Math.floor(n / 2));
      const pressed = PLANES.map(([words, type]) => button(words, (event) => {
        for (const other of pressed) other.setAttribute("aria-pressed", String(other === event.currentTarget));
        options({ sliceType: type });
      }, { "aria-pressed": String(type === 3) }));
      main().append(make("div", { class: "bar" }, make("span", { role: "group", "aria-label": "Planes", class: "planes" }, ...pressed),
        make("span", { class: "words side" }, "Radiological: the patient's right (R) is on the left"), where));
      sliders = ["Sagittal", "Coronal", "Axial"].map((words, i) => slider(words, { max: dims[i] - 1, value: vox[i], say: (v) => `${v + 1} of ${dims[i]}`,
        oninput: (v) => whole.tell("move_crosshair_in_vox", ...[0, 1, 2].map((j) => j === i ? v - vox[i] : 0)) }));
      main().append(make("div", { class: "bar" }, ...sliders.map((part) => part.row)));
      if (range) main().append(windowBar(range));
      if (header.frames > 1) {
        const moments = slider("Volume", { max: header.frames - 1, say: (v) => `${v + 1} of ${header.frames}`, oninput: (v) => volume.put("frame_4d", v) });
        main().append(make("div", { class: "bar" }, moments.row));
      }
      whole.tell("resize_listener");
      whole.tell("move_crosshair_in_vox", 0, 0, 0);
    },
    look: () => { if (whole) options({ crosshairColor: rgba("accent", "5cc3d2") }); },
  });
}
