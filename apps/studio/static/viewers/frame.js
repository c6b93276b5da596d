// What all viewers share inside their frames: the one line to the page around, its look, and a few parts of a form.
globalThis.frame = (() => {
  const channel = new MessageChannel();
  const line = channel.port1;
  const main = () => document.getElementById("viewer");
  const COLOUR = /^(#[0-9a-f]{3,8}|rgba?\([\d., %/]+\))$/i;
  let viewer = null;
  let over = false, announced = false;
  const now = { dark: false, calm: false, colours: {} };

  function look(given) {
    now.dark = given.dark === true;
    now.calm = given.calm === true;
    for (const [name, value] of Object.entries(given.colours ?? {})) {
      if (/^[a-z-]{1,20}$/.test(name) && COLOUR.test(value)) {
        now.colours[name] = value;
        document.documentElement.style.setProperty(`--${name}`, value);
      }
    }
    document.documentElement.classList.toggle("dark", now.dark);
    document.documentElement.classList.toggle("calm", now.calm);
    document.documentElement.style.colorScheme = now.dark ? "dark" : "light";
  }

  // `fail("it holds no atoms")`: why the file cannot be shown, as the end of a sentence.
  function fail(reason) {
    if (over) return;
    over = true;
    announce();
    const words = reason instanceof Error ? reason.message : String(reason);
    line.postMessage({ type: "failed", words: words.replace(/\.$/, "").slice(0, 300) });
  }

  line.onmessage = async ({ data }) => {
    try {
      if (!viewer) return;
      if (data.type === "look") { look(data.look); viewer.look?.(now); }
      if (data.type === "more") viewer.more?.(data);
      if (data.type === "show") {
        look(data.look);
        await viewer.show(data.files, now);
        line.postMessage({ type: "shown" });
      }
    } catch (error) {
      fail(error);
    }
  };
  addEventListener("error", (event) => { if (!viewer) fail(event.message || "the viewer does not start"); });

  // A viewer says once that it is there: `show(files, look)` draws, `look(look)` follows light and dark,
  // `more(data)` takes what comes later.
  function register(given) {
    viewer = given;
    announce();
  }
  // Who may frame this document is fixed by its policy, so it may say this to whoever does; all else goes by the line.
  function announce() {
    if (announced) return;
    announced = true;
    parent.postMessage("langevin-viewer", "*", [channel.port2]);
  }

  // `make("button", { type: "button", onclick }, "Fit")`
  function make(tag, attributes = {}, ...inside) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...inside);
    return element;
  }
  const button = (words, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, words);
  // A slider with its label and the words for its value.
  function slider(label, { min = 0, max = 1, step = 1, value = 0, say = String, oninput }) {
    const words = make("output", {}, say(Number(value)));
    const input = make("input", { type: "range", min, max, step, "aria-label": label });
    input.value = value;
    const told = () => { words.textContent = say(Number(input.value)); input.setAttribute("aria-valuetext", words.textContent); };
    input.addEventListener("input", () => { told(); oninput(Number(input.value)); });
    told();
    const row = make("label", { class: "slider" }, make("span", {}, label), input, words);
    return { row, input, set(to) { input.value = to; told(); }, range(from, to) { input.min = from; input.max = to; told(); } };
  }
  function choice(label, options, onchange) {
    const select = make("select", { "aria-label": label, onchange: () => onchange(select.value) },
      ...Object.entries(options).map(([value, words]) => make("option", { value }, words)));
    return make("label", { class: "choice" }, make("span", {}, label), select);
  }
  // A canvas whose pixels are those of the screen; `draw` is called whenever its size changes and by `again()`.
  function canvas(attributes, draw) {
    const element = make("canvas", attributes);
    const context = element.getContext("2d");
    let due = 0;
    const paint = () => {
      due = 0;
      const width = element.clientWidth, height = element.clientHeight;
      if (!width || !height) return;
      const scale = Math.min(devicePixelRatio || 1, 3);
      const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
      if (element.width !== across || element.height !== down) { element.width = across; element.height = down; }
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, width, height);
      draw(context, width, height);
    };
    const again = () => { due ||= requestAnimationFrame(paint); };
    new ResizeObserver(again).observe(element);
    return { element, again, paint };
  }
  const blob = (file, type = "application/octet-stream") => new Blob([file.data], { type });
  const address = (file, type) => URL.createObjectURL(blob(file, type));
  const number = (value, digits = 4) => Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(digits)));
  return { register, fail, main, make, button, slider, choice, canvas, blob, address, number, now };
})();
