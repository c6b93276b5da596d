// Shapes in space by three.js: meshes, point clouds and splats; turned, moved and brought nearer by pointer and keys.
{
  const { register, main, make, button, slider, choice, number, now } = globalThis.frame;
  const UPRIGHT = { y: "y", z: "z", "-y": "−y" };
  let renderer = null, scene = null, camera = null, turned = null, light = null, radius = 1, due = 0, spin = false, points = [], cloud = null;
  let middle = null, along = 0.7, above = 0.35, far = 1;

  function material(coloured, { points: dots = false } = {}) {
    const base = { color: coloured ? 0xffffff : 0x9db4ba, vertexColors: coloured };
    return dots ? new THREE.PointsMaterial({ ...base, color: coloured ? 0xffffff : 0x5b8f9a }) : new THREE.MeshStandardMaterial({ ...base, roughness: 0.65, metalness: 0, side: THREE.DoubleSide });
  }
  function plain({ positions, normals, colours, index, faces }) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(positions, 3));
    if (colours) geometry.setAttribute("color", new THREE.BufferAttribute(colours, 3));
    if (normals) geometry.setAttribute("normal", new THREE.BufferAttribute(normals, 3));
    if (!index && !faces) return new THREE.Points(geometry, material(Boolean(colours), { points: true }));
    if (index) geometry.setIndex(new THREE.BufferAttribute(index, 1));
    if (!normals) geometry.computeVertexNormals();
    return new THREE.Mesh(geometry, material(Boolean(colours)));
  }
  const glb = (data) => new Promise((resolve, reject) => {
    const refused = () => reject(new Error("it is damaged, or names parts that lie outside the file"));
    try { new THREE.GLTFLoader().parse(data, "", (gltf) => resolve(gltf.scene), refused); } catch { refused(); }
  });
  async function read(data) {
    const start = String.fromCharCode(...new Uint8Array(data, 0, 4));
    if (start === "glTF") return glb(data);
    if (start.startsWith("ply")) {
      const shape = globalThis.shapes.ply(data);
      return shape.splats ? globalThis.splats.cloud(shape) : plain(shape);
    }
    return plain(globalThis.shapes.obj(new TextDecoder().decode(data)));
  }

  // Polished metal shows nothing but what is around it: a sky above and a ground below.
  function surroundings() {
    const room = new THREE.Scene(), ball = new THREE.SphereGeometry(10, 16, 12), colours = [];
    for (let i = 0; i < ball.attributes.position.count; i++) {
      const v = 0.25 + 0.75 * (0.5 + ball.attributes.position.getY(i) / 20);
      colours.push(v, v, v);
    }
    ball.setAttribute("color", new THREE.Float32BufferAttribute(colours, 3));
    room.add(new THREE.Mesh(ball, new THREE.MeshBasicMaterial({ vertexColors: true, side: THREE.BackSide })));
    const maker = new THREE.PMREMGenerator(renderer);
    scene.environment = maker.fromScene(room).texture;
    maker.dispose();
  }
  function ground() {
    if (!renderer) return;
    renderer.setClearColor(new THREE.Color(/^#[0-9a-f]{6}$/i.test(now.colours.well ?? "") ? now.colours.well : "#f5f6f7"), 1);
    again();
  }

  function paint() {
    due = 0;
    if (spin) { along += 0.01; again(); }
    const flat = Math.cos(above) * far;
    camera.position.set(middle.x + flat * Math.sin(along), middle.y + far * Math.sin(above), middle.z + flat * Math.cos(along));
    camera.near = Math.max(far - 4 * radius, far / 500);
    camera.far = far + 8 * radius;
    camera.lookAt(middle);
    camera.updateProjectionMatrix();
    camera.updateMatrixWorld();
    light.position.copy(camera.position).add(new THREE.Vector3(0, radius, 0));
    const size = renderer.getDrawingBufferSize(new THREE.Vector2());
    scene.updateMatrixWorld();
    cloud?.sort(camera, size.x, size.y);
    renderer.render(scene, camera);
  }
  function again() { due ||= requestAnimationFrame(paint); }
  function resize(stage) {
    const { clientWidth: width, clientHeight: height } = stage;
    if (!width || !height) return;
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    again();
  }
  function reset() {
    const box = new THREE.Box3().setFromObject(turned), ball = box.getBoundingSphere(new THREE.Sphere());
    radius = ball.radius || 1;
    middle = ball.center.clone();
    far = 1.1 * radius / Math.sin(Math.PI / 180 * camera.fov / 2) * Math.max(1, 1 / camera.aspect);
    [along, above] = [0.7, 0.35];
    again();
  }
  function turn(x, y) { along -= x; above = Math.min(1.55, Math.max(-1.55, above + y)); again(); }
  function nearer(factor) { far = Math.min(50 * radius, Math.max(radius / 50, far / factor)); again(); }
  function shift(x, y) { // in pixels
    const each = 2 * far * Math.tan(Math.PI / 360 * camera.fov) / renderer.domElement.clientHeight;
    const right = new THREE.Vector3().setFromMatrixColumn(camera.matrix, 0), up = new THREE.Vector3().setFromMatrixColumn(camera.matrix, 1);
    middle.addScaledVector(right, -x * each).addScaledVector(up, y * each);
    again();
  }
  function upright(axis) {
    turned.rotation.set(axis === "z" ? -Math.PI / 2 : axis === "-y" ? Math.PI : 0, 0, 0);
    turned.updateMatrixWorld(true);
    reset();
  }

  function hands(element) {
    const held = new Map();
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("pointerdown", (event) => { element.setPointerCapture(event.pointerId); held.set(event.pointerId, [event.clientX, event.clientY]); });
    element.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId), here = [event.clientX, event.clientY];
      if (!before) return;
      const [x, y] = [here[0] - before[0], here[1] - before[1]];
      if (held.size === 2) {
        const other = [...held].find(([id]) => id !== event.pointerId)[1], apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
        nearer(apart(here) / Math.max(1, apart(before)));
        shift(x / 2, y / 2);
      } else if (event.buttons & 6 || event.shiftKey) shift(x, y);
      else turn(x * 0.008, y * 0.008);
      held.set(event.pointerId, here);
    });
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, (event) => held.delete(event.pointerId));
    element.addEventListener("wheel", (event) => { event.preventDefault(); nearer(Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0012))); }, { passive: false });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const act = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
      if (act) event.shiftKey ? shift(-200 * act[0], -200 * act[1]) : turn(-act[0], -act[1]);
      else if ("+=".includes(event.key)) nearer(1.2);
      else if (event.key === "-") nearer(1 / 1.2);
      else if (event.key === "0") reset();
      else return;
      event.preventDefault();
    });
  }

  function facts() {
    let vertices = 0, triangles = 0;
    turned.traverse(({ geometry, isMesh }) => {
      if (!geometry?.attributes.position || cloud) return;
      vertices += geometry.attributes.position.count;
      if (isMesh) triangles += (geometry.index?.count ?? geometry.attributes.position.count) / 3;
    });
    const size = new THREE.Box3().setFromObject(turned).getSize(new THREE.Vector3());
    const count = (n, word) => `${n.toLocaleString("en").replaceAll(",", "\u202f")} ${word}`;
    const parts = cloud ? [count(cloud.geometry.instanceCount, "splats")] : triangles ? [count(vertices, "vertices"), count(triangles, "triangles")] : [count(vertices, "points")];
    return [...parts, [size.x, size.y, size.z].map((v) => number(v, 3)).join(" × ")].join(" · ");
  }

  register({
    async show([file]) {
      if (!make("canvas").getContext("webgl2")) throw new Error("this browser draws nothing in space (WebGL 2 is off)");
      const shape = await read(file.data);
      const drawing = make("canvas", { tabindex: 0, role: "img", "aria-label": `${file.title}, in space. Arrows turn it, with shift they move it; plus and minus zoom, 0 resets.` });
      const stage = make("div", { class: "stage" }, drawing);
      main().append(stage);
      renderer = new THREE.WebGLRenderer({ canvas: drawing, antialias: true });
      renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
      renderer.outputEncoding = THREE.sRGBEncoding;
      scene = new THREE.Scene();
      camera = new THREE.PerspectiveCamera(35, 1, 0.1, 100);
      light = new THREE.DirectionalLight(0xffffff, 0.6);
      scene.add(new THREE.HemisphereLight(0xffffff, 0x667078, 0.5), light);
      turned = new THREE.Group();
      turned.add(shape);
      scene.add(turned);
      cloud = shape.sort ? shape : null;
      let metal = false;
      const meshes = [];
      turned.traverse((part) => {
        if (part.isPoints) points.push(part);
        if (part.isMesh && part !== cloud) meshes.push(part);
        for (const one of [part.material].flat()) metal ||= one?.metalness > 0.3;
      });
      if (metal) surroundings();
      if (!new THREE.Box3().setFromObject(turned).getSize(new THREE.Vector3()).length() && !points.length) throw new Error("it holds no shape");
      const bar = make("div", { class: "bar" }, button("−", () => nearer(1 / 1.3), { "aria-label": "Farther" }), button("+", () => nearer(1.3), { "aria-label": "Nearer" }), button("Reset", reset));
      const turning = button("Turn", () => { spin = !spin; turning.setAttribute("aria-pressed", String(spin)); again(); }, { "aria-pressed": "false" });
      bar.append(turning);
      if (meshes.length) {
        const wires = button("Edges", () => {
          const on = wires.getAttribute("aria-pressed") !== "true";
          wires.setAttribute("aria-pressed", String(on));
          for (const part of meshes) for (const one of [part.material].flat()) one.wireframe = on;
          again();
        }, { "aria-pressed": "false" });
        bar.append(wires);
      }
      const up = choice("Up", UPRIGHT, upright);
      bar.append(up, make("output", { class: "grow" }, facts()));
      main().append(bar);
      resize(stage);
      if (cloud) up.querySelector("select").value = "-y"; // as splats are trained: the camera's y points down
      upright(cloud ? "-y" : "y");
      if (points.length) {
        const dot = radius / 150;
        for (const part of points) part.material.size = dot;
        main().append(make("div", { class: "bar" }, slider("Size of points", { min: 0.2, max: 5, step: 0.1, value: 1, say: (v) => `${v.toFixed(1)} ×`,
          oninput: (v) => { for (const part of points) part.material.size = dot * v; again(); } }).row));
      }
      hands(drawing);
      new ResizeObserver(() => resize(stage)).observe(stage);
      ground();
      paint();
    },
    look: ground,
  });
}
