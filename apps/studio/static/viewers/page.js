// Makes viewers of <langevin-viewer> elements.  Each viewer is a frame without an origin of its own: it can ask for
// nothing and read nothing here.  This script fetches the file, as the person who looks at it, and hands over its bytes.
(() => {
  if (customElements.get("langevin-viewer")) return;
  const MOST_FRAMES = 8; // browsers keep 16 drawing contexts; those that are not seen give theirs back
  const COLOURS = ["sheet", "well", "ink", "quiet", "line", "edge", "accent", "accent-soft", "on-accent", "doubt", "second"];
  const MOST_SKETCHED = 2 ** 19, PATIENCE = 120_000; // bytes, milliseconds
  const STEPS = new Set(["shown", "failed"]);
  const open = new Set(); // in the order in which they were last seen

  const dark = () => document.body.classList.contains("dark");
  // The system's wish, or that of the page, which keeps it on its root.
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const calm = () => still.matches || document.documentElement.classList.contains("calm");

  function look() {
    const style = getComputedStyle(document.body);
    const colours = {};
    for (const name of COLOURS) colours[name] = style.getPropertyValue(`--${name}`).trim();
    return { dark: dark(), calm: calm(), colours };
  }

  function make(tag, attributes = {}, ...inside) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  }

  // The bytes at an address of this host, at most `limit` of them; `tell` hears how far it is.
  async function bytes(address, limit, most, signal, tell) {
    const url = new URL(address, document.baseURI);
    if (url.origin !== location.origin) throw new Error("the file does not lie on this server");
    const answer = await fetch(url, { credentials: "same-origin", redirect: "error", signal });
    if (!answer.ok) throw new Error(answer.status === 404 ? "the file has been cleared away" : `the server says ${answer.status}`);
    const tooLarge = () => new Error(`it is larger than ${most}, the most that is shown here; download it instead`);
    const stated = Number(answer.headers.get("content-length")) || 0;
    if (stated > limit) throw tooLarge();
    const reader = answer.body.getReader(), parts = [];
    let size = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > limit) { reader.cancel(); throw tooLarge(); }
      parts.push(value);
      tell(stated ? Math.min(1, size / stated) : 0);
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for (const part of parts) { whole.set(part, at); at += part.length; }
    return whole.buffer;
  }

  // Flat drawings of the molecules at the beginning of an SD file, made by the server.
  async function sketches(file, signal) {
    const answer = await fetch(new URL("viewers/sketch", document.baseURI),
      { method: "POST", body: file, credentials: "same-origin", headers: { "content-type": "application/octet-stream" }, signal });
    return answer.ok ? answer.json() : { sketches: [] };
  }

  function firstMolecules(data) {
    const head = new TextDecoder("latin1").decode(data.slice(0, MOST_SKETCHED));
    if (!/^(?:.*\n){3}.*V[23]000/.test(head)) return null;
    const end = data.byteLength > MOST_SKETCHED ? head.lastIndexOf("$$$$") + 4 : data.byteLength;
    return end > 4 ? data.slice(0, end) : null;
  }

  class LangevinViewer extends HTMLElement {
    #seen = new IntersectionObserver((entries) => this.#see(entries.at(-1).isIntersecting), { rootMargin: "200px" });
    #frame = null;
    #port = null;
    #work = null;
    #visible = false;
    #built = false;

    connectedCallback() {
      this.#build();
      this.#seen.observe(this);
    }
    disconnectedCallback() {
      this.#seen.disconnect();
      this.close();
    }

    #build() {
      if (this.#built) return;
      this.#built = true;
      const { title, noun } = this.dataset;
      const file = this.querySelector(".viewer-file");
      file?.remove();
      this.replaceChildren();
      this.note = make("p", { class: "viewer-note", role: "status" });
      this.place = make("div", { class: "viewer-place" });
      const full = make("button", { type: "button", class: "plain" }, "Full screen");
      full.addEventListener("click", () => document.fullscreenElement ? document.exitFullscreen() : this.requestFullscreen?.());
      this.full = full;
      const tools = make("div", { class: "viewer-tools" }, make("span", { class: "viewer-title" }, title), full);
      const link = file?.querySelector("a");
      if (link) {
        link.classList.add("plain");
        link.textContent = "Download";
        link.setAttribute("aria-label", `Download ${title}`);
        tools.append(link);
      }
      this.setAttribute("role", "group");
      this.setAttribute("aria-label", `${title}, ${noun} viewer`);
      this.append(tools, this.place, this.note);
      this.#state("waiting", "");
    }

    #state(name, words) {
      this.dataset.state = name;
      this.setAttribute("aria-busy", String(name === "loading"));
      this.note.textContent = words;
    }

    #see(visible) {
      this.#visible = visible;
      if (!visible) return;
      if (!this.#frame && this.dataset.state === "waiting") this.open();
      else if (open.delete(this)) open.add(this);
    }

    open() {
      open.add(this);
      if (open.size > MOST_FRAMES) [...open].find((other) => other !== this && !other.#visible)?.close();
      this.#work = new AbortController();
      const { viewer, title, noun } = this.dataset;
      const frame = this.#frame = make("iframe", {
        sandbox: "allow-scripts",
        referrerpolicy: "no-referrer",
        title: `${title}, ${noun} viewer`,
      });
      const signal = this.#work.signal;
      addEventListener("message", (event) => {
        // A frame without an origin says `null`; only what comes from this very frame is heard, and only its first word.
        if (event.source !== frame.contentWindow || event.origin !== "null" || this.#port) return;
        if (event.data !== "langevin-viewer" || event.ports.length !== 1) return;
        this.#port = event.ports[0];
        this.#port.onmessage = (message) => this.#hear(message.data);
        this.#load(signal);
      }, { signal });
      frame.src = new URL(`viewers/frame/${encodeURIComponent(viewer)}`, document.baseURI);
      this.#state("loading", "Loading the viewer");
      this.place.replaceChildren(frame);
      this.#reachable(frame.src, signal);
      setTimeout(() => { if (!signal.aborted && !this.#port) this.#fail("the viewer does not start in this browser"); }, PATIENCE);
    }

    // A frame that is refused says nothing; whether it is, one question of this page tells.
    async #reachable(address, signal) {
      try {
        const answer = await fetch(address, { method: "HEAD", credentials: "same-origin", signal });
        if (!answer.ok) this.#fail(answer.status === 503 ? "a library that this viewer needs is not installed on the server" : `the server says ${answer.status}`);
      } catch (error) {
        if (!signal.aborted) this.#fail("the server does not answer");
      }
    }

    close() {
      open.delete(this);
      this.#work?.abort();
      this.#port?.close();
      this.#port = this.#frame = this.#work = null;
      this.place?.replaceChildren();
      if (this.dataset.state !== "failed" && this.#built) this.#state("waiting", "");
    }

    async #load(signal) {
      const { src, title, limit, most, besideSrc, besideTitle, sketches: flat } = this.dataset;
      const wanted = [[src, title], ...(besideSrc ? [[besideSrc, besideTitle]] : [])];
      try {
        const files = [];
        for (const [address, words] of wanted) {
          const tell = (share) => { if (share) this.#state("loading", `Loading, ${Math.round(100 * share)} %`); };
          const data = await bytes(address, Number(limit), most, signal, tell);
          files.push({ name: decodeURIComponent(new URL(address, document.baseURI).pathname.split("/").pop()), title: words, data });
        }
        const copy = flat ? firstMolecules(files[0].data) : null;
        this.#state("loading", "Drawing");
        this.#port.postMessage({ type: "show", files, look: look() }, files.map((file) => file.data));
        if (copy) sketches(copy, signal).then((drawn) => this.#port?.postMessage({ type: "more", ...drawn }), () => {});
      } catch (error) {
        if (!signal.aborted) this.#fail(error.message);
      }
    }

    #hear(message) {
      if (typeof message !== "object" || message === null || !STEPS.has(message.type)) return;
      if (message.type === "shown") this.#state("shown", "");
      else this.#fail(String(message.words).slice(0, 300));
    }

    #fail(words) {
      this.close();
      this.#state("failed", `This ${this.dataset.noun} cannot be shown: ${words}.`);
    }

    relook() { this.#port?.postMessage({ type: "look", look: look() }); }
  }
  customElements.define("langevin-viewer", LangevinViewer);

  const relook = () => { for (const viewer of open) viewer.relook(); };
  function watch() {
    for (const part of [document.body, document.documentElement]) {
      new MutationObserver(relook).observe(part, { attributes: true, attributeFilter: ["class"] });
    }
  }
  if (document.body) watch();
  else addEventListener("DOMContentLoaded", watch, { once: true });
  still.addEventListener("change", relook);
  document.addEventListener("fullscreenchange", () => {
    for (const viewer of document.querySelectorAll("langevin-viewer")) {
      if (viewer.full) viewer.full.textContent = document.fullscreenElement === viewer ? "Leave full screen" : "Full screen";
    }
  });
})();
