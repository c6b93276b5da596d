// Pictures: zoom and pan by pointer, fingers and keys; the value of a pixel; two under one slider.
{
  const { register, main, make, button, canvas, blob, now } = globalThis.frame;
  const LARGEST_ZOOM = 64, NUMBERS_FROM = 40; // screen pixels a pixel; from there on its values are written into it
  let pictures = [], titles = [], zoom = 1, left = 0, top = 0, fitted = true, split = 0.5, drawing = null, under = null;
  const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  async function decoded(file) {
    globalThis.pictures.bounded(file.data);
    try {
      return await createImageBitmap(blob(file), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
    } catch {
      throw new Error("it is damaged, or of a kind that this browser does not know");
    }
  }
  function value(picture, x, y) {
    probe.clearRect(0, 0, 1, 1);
    probe.drawImage(picture, x, y, 1, 1, 0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data];
  }
  const size = () => [pictures[0].width, pictures[0].height];
  // The second picture lies over the first, stretched to its size where theirs differ.
  const at = (picture, x, y) => [Math.floor(x * picture.width / size()[0]), Math.floor(y * picture.height / size()[1])];

  function fit() {
    const [width, height] = size(), { clientWidth, clientHeight } = drawing.element;
    zoom = Math.min(clientWidth / width, clientHeight / height);
    if (zoom > 1) zoom = Math.min(Math.floor(zoom), 8); // small pictures by whole factors, so that pixels stay square
    left = (clientWidth - width * zoom) / 2;
    top = (clientHeight - height * zoom) / 2;
    fitted = true;
    tell();
  }
  const middle = () => [drawing.element.clientWidth / 2, drawing.element.clientHeight / 2];
  function scale(factor, [x, y] = middle()) {
    const before = zoom;
    zoom = Math.min(LARGEST_ZOOM, Math.max(0.02, zoom * factor));
    left = x - (x - left) * zoom / before;
    top = y - (y - top) * zoom / before;
    fitted = false;
    tell();
  }
  function move(x, y) { left += x; top += y; fitted = false; tell(); }
  function tell() {
    zoomWords.textContent = `${Math.round(zoom * 100)} %`;
    say();
    drawing.again();
  }
  // What lies under the pointer, or in the middle for those who move by keys.
  function say() {
    const [px, py] = under ?? middle(), [width, height] = size();
    const x = Math.floor((px - left) / zoom), y = Math.floor((py - top) / zoom);
    if (x < 0 || y < 0 || x >= width || y >= height) { pixelWords.textContent = `${width} × ${height} pixels`; return; }
    const each = pictures.map((picture) => value(picture, ...at(picture, x, y)).slice(0, 4)).map(([r, g, b, a]) =>
      r === g && g === b ? `grey ${r}${a < 255 ? `, alpha ${a}` : ""}` : `red ${r}, green ${g}, blue ${b}${a < 255 ? `, alpha ${a}` : ""}`);
    pixelWords.textContent = `x ${x}, y ${y}: ${each.join(" | ")}`;
  }

  function paint(context, width, height) {
    if (fitted) fit();
    checks(context, width, height);
    context.imageSmoothingEnabled = zoom < 2;
    context.imageSmoothingQuality = "high";
    const [across, down] = size(), cut = pictures.length > 1 ? width * split : width;
    pictures.forEach((picture, second) => {
      context.save();
      context.beginPath();
      if (second) context.rect(cut, 0, width - cut, height); else context.rect(0, 0, cut, height);
      context.clip();
      context.drawImage(picture, left, top, across * zoom, down * zoom);
      context.restore();
    });
    if (zoom >= NUMBERS_FROM) numbers(context, width, height, cut);
    if (pictures.length > 1) {
      context.fillStyle = now.colours.accent ?? "#0a6272";
      context.fillRect(cut - 1, 0, 2, height);
      context.beginPath();
      context.arc(cut, height / 2, 10, 0, 7);
      context.fill();
    }
  }
  // A chequered ground, so that what is transparent is seen as such.
  function checks(context) {
    const [width, height] = size();
    context.save();
    context.beginPath();
    context.rect(left, top, width * zoom, height * zoom);
    context.clip();
    const tile = new OffscreenCanvas(16, 16), square = tile.getContext("2d");
    square.fillStyle = now.dark ? "#2a3036" : "#ffffff"; square.fillRect(0, 0, 16, 16);
    square.fillStyle = now.dark ? "#1c2125" : "#e4e8eb"; square.fillRect(0, 0, 8, 8); square.fillRect(8, 8, 8, 8);
    context.fillStyle = context.createPattern(tile, "repeat");
    context.fillRect(left, top, width * zoom, height * zoom);
    context.restore();
  }
  function numbers(context, width, height, cut) {
    const [across, down] = size();
    context.font = "11px ui-monospace, monospace";
    context.textAlign = "center";
    const from = (start) => Math.max(0, Math.floor(-start / zoom));
    for (let y = from(top); y < Math.min(down, Math.ceil((height - top) / zoom)); y++) {
      for (let x = from(left); x < Math.min(across, Math.ceil((width - left) / zoom)); x++) {
        const [cx, cy] = [left + (x + 0.5) * zoom, top + (y + 0.5) * zoom];
        const picture = pictures[pictures.length > 1 && cx >= cut ? 1 : 0];
        const [r, g, b] = value(picture, ...at(picture, x, y));
        context.fillStyle = 0.3 * r + 0.6 * g + 0.1 * b > 128 ? "#000" : "#fff";
        const lines = r === g && g === b ? [r] : [r, g, b];
        lines.forEach((line, i) => context.fillText(line, cx, cy + 4 + 12 * (i - (lines.length - 1) / 2)));
      }
    }
  }

  const zoomWords = make("output", { "aria-live": "off" }), pixelWords = make("output", { class: "mono grow", "aria-live": "off" });
  function build() {
    drawing = canvas({ tabindex: 0, role: "img" }, paint);
    const element = drawing.element, words = titles.join(" beside ");
    element.setAttribute("aria-label", `${words}. Plus and minus zoom, arrows move, 0 fits, 1 shows each pixel as one.`);
    const stage = make("div", { class: "stage" }, element);
    const bar = make("div", { class: "bar" },
      button("−", () => scale(1 / 1.5), { "aria-label": "Zoom out" }), zoomWords, button("+", () => scale(1.5), { "aria-label": "Zoom in" }),
      button("Fit", () => { fitted = true; drawing.again(); }), button("100 %", () => scale(1 / zoom)), pixelWords);
    main().append(stage);
    if (pictures.length > 1) {
      titles.forEach((title, i) => stage.append(make("span", { class: "tag", style: `top: 8px; ${i ? "right" : "left"}: 8px` }, title)));
      const compare = globalThis.frame.slider("Compare", { max: 100, value: 50, say: (v) => `${v} %`, oninput: (v) => { split = v / 100; drawing.again(); } });
      compare.input.id = "compare";
      setSplit = (share) => { split = Math.min(1, Math.max(0, share)); compare.set(Math.round(100 * split)); drawing.again(); };
      main().append(make("div", { class: "bar" }, compare.row));
      const [a, b] = pictures;
      if (a.width !== b.width || a.height !== b.height) {
        bar.append(make("span", { class: "words" }, `the second is ${b.width} × ${b.height}, stretched to the first`));
      }
    }
    main().append(bar);
    pointers(element);
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      scale(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), [event.offsetX, event.offsetY]);
    }, { passive: false });
    element.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 160 : 40;
      const act = { "+": () => scale(1.5), "=": () => scale(1.5), "-": () => scale(1 / 1.5), 0: () => { fitted = true; drawing.again(); },
        1: () => scale(1 / zoom), ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step) }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      under = null;
      act();
    });
  }
  let setSplit = null;
  function pointers(element) {
    const held = new Map();
    let sliding = false;
    const place = (event) => [event.offsetX, event.offsetY];
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      held.set(event.pointerId, place(event));
      sliding = Boolean(setSplit) && held.size === 1 && Math.abs(event.offsetX - split * element.clientWidth) < 16;
    });
    element.addEventListener("pointermove", (event) => {
      const here = place(event), before = held.get(event.pointerId);
      under = here;
      if (!before) return say();
      if (sliding) setSplit(here[0] / element.clientWidth);
      else if (held.size === 1) move(here[0] - before[0], here[1] - before[1]);
      else if (held.size === 2) {
        const other = [...held].find(([id]) => id !== event.pointerId)[1];
        const far = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
        move((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
        scale(far(here) / Math.max(1, far(before)), [(here[0] + other[0]) / 2, (here[1] + other[1]) / 2]);
      }
      held.set(event.pointerId, here);
    });
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, (event) => held.delete(event.pointerId));
    element.addEventListener("pointerleave", () => { under = null; say(); });
    element.addEventListener("dblclick", (event) => scale(2, place(event)));
  }

  register({
    async show(files) {
      titles = files.map((file) => file.title);
      pictures = await Promise.all(files.map(decoded));
      build();
      drawing.paint();
    },
    look: () => drawing?.again(),
  });
}
