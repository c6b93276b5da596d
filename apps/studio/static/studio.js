// What the page does by itself: light or dark, the address, copying, and the film on Home.
window.langevin = (() => {
  const dark = () => document.body.classList.contains("dark");

  // `light`, `dark`, or nothing for whatever the system prefers.
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  function theme(name) {
    if (name) localStorage.setItem("langevin-theme", name);
    else localStorage.removeItem("langevin-theme");
    document.body.classList.toggle("dark", name ? name === "dark" : systemDark.matches);
  }
  // Whether nothing is to move: the system's wish, or the one of Settings, which is kept on the root for all scripts.
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches || document.documentElement.classList.contains("calm");
  function motion(name) {
    if (name) localStorage.setItem("langevin-motion", name);
    else localStorage.removeItem("langevin-motion");
    document.documentElement.classList.toggle("calm", name === "reduced");
  }
  motion(localStorage.getItem("langevin-motion"));
  const still = document.createElement("style");
  still.textContent = "html.calm * { transition: none !important; animation: none !important; scroll-behavior: auto !important; }";
  document.head.append(still);

  // The address names tab, task and job, so that a refresh or a bookmark comes back to the same place.
  // Until `ready`, it is the address that opens the tab, not the other way round.
  let settled = false;
  function ready() {
    setTimeout(() => { settled = true; address(); }, 300);
  }
  function address() {
    if (settled) requestAnimationFrame(() => {
      const url = new URL(location.href);
      const before = ["tab", "task"].map((name) => url.searchParams.get(name)).join(".");
      const tab = document.querySelector("#tabs > .tab-wrapper [aria-selected=true]")?.dataset.tabId ?? "home";
      const open = [...document.querySelectorAll(".tasks > .tab-wrapper [aria-selected=true]")]
        .find((button) => button.checkVisibility() && button.dataset.tabId.startsWith(`${tab}.`));
      const task = open?.dataset.tabId.split(".")[1];
      for (const [name, value] of [["tab", tab === "home" ? null : tab], ["task", task]]) {
        if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
      }
      const sweep = document.querySelector("#sweep_status [data-sweep]")?.dataset.sweep;
      if (tab !== "sweep") url.searchParams.delete("sweep");
      else if (sweep) url.searchParams.set("sweep", sweep);
      if (before !== `${tab}.${task}`) {
        url.searchParams.delete("job");
        const shown = [...document.querySelectorAll("[data-job]")].find((line) => line.checkVisibility());
        if (shown && tab !== "home") url.searchParams.set("job", shown.dataset.job);
      }
      history.replaceState(history.state, "", url);
      reveal();
    });
  }
  // On a small screen the bar of tabs is wider than the screen; the chosen one is to be seen.
  function reveal() {
    for (const chosen of document.querySelectorAll(".tab-container [role=tab][aria-selected=true]")) {
      const bar = chosen.parentElement;
      if (!chosen.checkVisibility() || bar.scrollWidth <= bar.clientWidth) continue;
      const [inner, outer] = [chosen.getBoundingClientRect(), bar.getBoundingClientRect()];
      const margin = 24; // pixels of its neighbour, which tell that there is more
      if (inner.left < outer.left + margin) bar.scrollLeft -= outer.left + margin - inner.left;
      if (inner.right > outer.right - margin) bar.scrollLeft += inner.right - outer.right + margin;
    }
  }
  addEventListener("resize", () => requestAnimationFrame(reveal)); // a phone is turned

  function job(element) {
    const id = element.querySelector("[data-job]")?.dataset.job;
    const url = new URL(location.href);
    if (!id && element.querySelector("[data-state=restored]")) {
      url.searchParams.delete("job");
      history.replaceState(history.state, "", url);
    }
    if (!id) return;
    if (url.searchParams.get("job") === id) return;
    url.searchParams.set("job", id);
    history.replaceState(history.state, "", url);
    // In one column the answer lies below the button that was just pressed; beside a long form it may lie above.
    if (settled && (innerWidth <= 900 || element.getBoundingClientRect().bottom < 0)) element.scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
  }

  async function copy(button) {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser refused";
    }
    setTimeout(() => { button.textContent = words; }, 1600);
  }

  // Walks through the recorded frames, blending each into the next; a still for those who prefer reduced motion.
  function film(element) {
    const figure = element.querySelector("[data-film]");
    if (!figure) return;
    const { x, frames } = JSON.parse(figure.dataset.film);
    const paths = [...figure.querySelectorAll(".made")];
    const step = figure.querySelector(".step");
    const last = frames.length - 1;
    const seconds = 9, rest = 5, pause = 50; // milliseconds between pictures; more are not seen
    let at = 0, timer = null;
    function draw(place) {
      const frame = Math.min(Math.floor(place), last - 1), share = place - frame;
      paths.forEach((path, sample) => {
        const a = frames[frame][sample], b = frames[frame + 1][sample];
        const now = a.map((from, i) => (from + share * (b[i] - from)).toFixed(1));
        // A series of heights, or points that move both ways: x, y, x, y, …
        path.setAttribute("d", x.length ? "M" + x.map((left, i) => `${left} ${now[i]}`).join("L")
          : now.map((value, i) => i % 2 ? `${value}h0` : `M${value} `).join(""));
      });
      step.textContent = `step ${Math.round(place) + 1} of ${last + 1}`;
    }
    function tick() {
      if (calm()) {
        if (at) draw(last);
        at = 0;
        return;
      }
      at = (at + pause / 1000) % (seconds + rest);
      if (at < seconds + pause / 500) draw(last * Math.min(1, at / seconds));
    }
    // It runs only while it is seen.
    new IntersectionObserver(([seen]) => {
      clearInterval(timer);
      timer = seen.isIntersecting ? setInterval(tick, pause) : null;
    }).observe(figure);
  }

  // Steps through the frames of the plot that stands before the element, where it has any.
  function player(element) {
    const viewer = element.closest(".answer")?.querySelector(".viewer");
    const bar = element.querySelector(".player");
    if (!viewer || !bar) return;
    const [button, slider, words] = ["button", "input", "output"].map((name) => bar.querySelector(name));
    const pace = 180; // milliseconds a frame
    let frames = null, timer = null, wanted = null;
    const plot = () => viewer.querySelector(".js-plotly-plot");
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    }
    function say(at) {
      words.textContent = frames[at].name;
      slider.setAttribute("aria-valuetext", frames[at].name);
    }
    async function show(at) {
      slider.value = at;
      say(at);
      // While one frame is drawn, only the latest of those asked for waits.
      const idle = wanted === null;
      wanted = at;
      if (!idle) return;
      while (wanted !== null) {
        const { data, traces } = frames[wanted], asked = wanted;
        const once = { mode: "immediate", transition: { duration: 0 }, frame: { duration: 0, redraw: true } };
        try {
          await Plotly.animate(plot(), { data, traces }, once);
        } catch { /* another figure took its place */ }
        if (wanted === asked) wanted = null;
      }
    }
    function look() {
      const now = plot()?.layout?.meta?.frames ?? null;
      if (now === frames) return;
      stop();
      frames = now;
      bar.hidden = !frames;
      if (!frames) return;
      slider.max = frames.length - 1;
      slider.value = frames.length - 1;
      say(frames.length - 1);
    }
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    button.addEventListener("click", () => {
      if (timer) return stop();
      button.textContent = "Pause";
      let at = Number(slider.value) < frames.length - 1 ? Number(slider.value) : -1;
      const forward = () => {
        if (wanted !== null) return; // the machine is slower than the pace
        show(++at);
        if (at >= frames.length - 1) stop();
      };
      timer = setInterval(forward, pace);
      forward();
    });
    let due = 0;
    new MutationObserver(() => {
      cancelAnimationFrame(due);
      due = requestAnimationFrame(look);
    }).observe(viewer, { childList: true, subtree: true });
    look();
  }

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const copied = target?.closest("[data-copy]");
    if (copied) copy(copied);
    if (target?.closest("[data-theme-switch]")) theme(dark() ? "light" : "dark");
    for (const open of document.querySelectorAll("details.chip[open]")) {
      if (!open.contains(target)) open.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of document.querySelectorAll("details.chip[open]")) open.open = false;
  });
  // Whatever else sets the theme while the page is put together: the person's choice stands.
  function insist() {
    const chosen = localStorage.getItem("langevin-theme");
    if (chosen && dark() !== (chosen === "dark")) document.body.classList.toggle("dark", chosen === "dark");
  }
  function begin() {
    document.documentElement.lang = "en";
    new MutationObserver(insist).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    insist();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();

  return { address, calm, film, job, motion, player, ready, theme };
})();
