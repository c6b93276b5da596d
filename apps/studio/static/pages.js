// The pages that belong to no domain, dropping a file to restore it, and the actions under an answer.
(() => {
  const LEAVE = 6000, LOOK = 1000, LOOK_IDLE = 4000, PAUSE = 250; // milliseconds
  const at = (address) => new URL(address, document.baseURI);
  const main = () => document.querySelector(".gradio-container .contain") ?? document.body;

  async function get(address, signal) {
    const answer = await fetch(at(address), { credentials: "same-origin", signal });
    return read(answer);
  }
  async function read(answer) {
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(typeof said.error === "string" ? said.error : `The server says ${answer.status}`);
    return said;
  }
  async function post(address, body = {}, options = {}) {
    const headers = { "content-type": "application/json" };
    return read(await fetch(at(address), { method: "POST", credentials: "same-origin", headers, body: JSON.stringify(body), ...options }));
  }
  const order = (id, verb, body, options) => post(`pages/jobs/${id}/${verb}`, body, options);

  // ---- the notice line: one sentence at the foot of the page, with at most one thing to do about it
  let line = null, lineTimer = 0;
  function notice(words, { fault = false, label = "", act = null, stay = LEAVE } = {}) {
    line?.remove();
    clearTimeout(lineTimer);
    line = document.createElement("div");
    line.className = "notice";
    line.setAttribute("role", fault ? "alert" : "status");
    if (fault) line.dataset.fault = "";
    const text = document.createElement("p");
    text.textContent = words;
    line.append(text);
    const button = (name, what) => {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "plain";
      made.textContent = name;
      made.addEventListener("click", () => { const gone = line; what?.(); if (line === gone) hush(); });
      line.append(made);
    };
    if (label) button(label, act);
    if (fault) button("Close", null); else lineTimer = setTimeout(hush, stay);
    main().append(line);
  }
  function hush() {
    clearTimeout(lineTimer);
    line?.remove();
    line = null;
  }
  const complain = (error) => { if (error.name !== "AbortError") notice(error.message.replace(/^./, (c) => c.toUpperCase()), { fault: true }); };

  // ---- the way to the panels
  let tell = null;
  const waiting = [];
  function listen(send) {
    tell = send;
    for (const what of waiting.splice(0)) send(what);
  }
  const ask = (what) => { if (tell) tell(what); else waiting.push(what); };
  function told(element) {
    const said = element.querySelector("[data-at]");
    if (said) notice(said.textContent, { fault: true }); else hush();
  }

  // ---- restoring: any file of ours, dropped anywhere but on a field that takes files
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const ownField = (event) => event.target instanceof Element && event.target.closest(".drop");
  async function restore(file) {
    if (!file) return;
    notice(`Reading ${file.name}`, { stay: 120_000 });
    try {
      const form = new FormData();
      form.append("files", file);
      const [path] = await read(await fetch(at("gradio_api/upload"), { method: "POST", credentials: "same-origin", body: form }));
      ask({ restore: path, name: file.name });
    } catch (error) {
      complain(error);
    }
  }
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event) || ownField(event)) return document.body.classList.remove("dropping");
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!carriesFiles(event) || ownField(event)) return;
    event.preventDefault();
    restore(event.dataTransfer.files[0]);
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-restore-file]")) return;
    restore(event.target.files[0]);
    event.target.value = "";
  });

  // ---- what is chosen for comparison outlasts the page
  const KEY = "langevin-chosen";
  const chosen = () => new Set(JSON.parse(localStorage.getItem(KEY) || "[]"));
  function choose(ids) {
    localStorage.setItem(KEY, JSON.stringify([...ids]));
    document.dispatchEvent(new Event("langevin-chosen"));
  }
  let compareAtOnce = false;

  // Whenever `element` comes into view, and when it leaves.
  function whenSeen(element, come, go = () => {}) {
    new IntersectionObserver((entries) => (entries.at(-1).isIntersecting ? come() : go())).observe(element);
  }
  function localTimes(root) {
    for (const time of root.querySelectorAll("time:not([data-local])")) {
      time.dataset.local = "";
      time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    }
  }

  // ---- gallery
  const leaving = new Map(); // id -> what brings it back
  const sendAway = (ids, options) => Promise.all(ids.filter((id) => leaving.delete(id)).map((id) => order(id, "delete", {}, options)));
  addEventListener("pagehide", () => { sendAway([...leaving.keys()], { keepalive: true }).catch(() => {}); });

  function gallery(element) {
    const root = element.querySelector(".gallery"), list = root.querySelector("[data-list]"), end = root.querySelector("[data-end]");
    const form = root.querySelector("[data-filters]"), place = root.querySelector("[data-comparison]");
    let before = "", work = null, head = null, atEnd = false;

    const query = () => new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    async function load(anew) {
      if (!anew && (work || !before)) return;
      work?.abort();
      const mine = work = new AbortController();
      list.setAttribute("aria-busy", "true");
      try {
        const words = query();
        if (!anew) words.set("before", before);
        const page = await get(`pages/gallery?${words}`, mine.signal);
        const same = anew && page.html === head && list.dataset.query === String(words);
        if (!same) {
          if (anew) { list.innerHTML = page.html; head = page.html; list.dataset.query = String(words); }
          else list.insertAdjacentHTML("beforeend", page.html);
          before = page.before;
        }
        for (const card of list.children) if (leaving.has(card.dataset.id)) card.remove();
        localTimes(list);
      } catch (error) {
        if (error.name === "AbortError") return;
        complain(error);
        before = "";
      }
      work = null;
      list.setAttribute("aria-busy", "false");
      marks();
      if (before && atEnd) load(false);
    }
    function say() {
      const filtered = [...query()].length > 0;
      end.textContent = before ? "More below" : list.children.length ? "" : filtered
        ? "Nothing fits; leave a filter out." : "Nothing here yet. What you run on any tab is kept here.";
    }
    function marks() {
      const now = chosen();
      for (const card of list.children) card.querySelector("[data-pick]").checked = now.has(card.dataset.id);
      root.querySelector("[data-count]").textContent = now.size ? `${now.size} chosen` : "None chosen";
      root.querySelector("[data-compare-chosen]").disabled = now.size !== 2;
      for (const name of ["zip", "remove", "clear"]) root.querySelector(`[data-${name}-chosen]`).disabled = !now.size;
      say();
    }
    async function compare() {
      const [a, b] = chosen();
      try {
        const page = await get(`pages/compare?a=${a}&b=${b}`);
        place.innerHTML = page.html;
        localTimes(place);
        place.firstElementChild.focus();
        place.scrollIntoView({ block: "start" });
      } catch (error) {
        complain(error);
      }
    }
    function remove(ids) {
      const cards = [...list.children].filter((card) => ids.includes(card.dataset.id));
      const spots = cards.map((card) => [card, card.nextElementSibling]);
      const next = cards.at(-1)?.nextElementSibling ?? cards[0]?.previousElementSibling;
      for (const id of ids) leaving.set(id, true);
      for (const card of cards) card.remove();
      choose([...chosen()].filter((id) => !ids.includes(id)));
      (next?.querySelector("[data-open]") ?? root.querySelector("[name=text]")).focus({ preventScroll: true });
      const timer = setTimeout(() => { sendAway(ids).catch(complain).finally(() => { head = null; }); }, LEAVE);
      notice(ids.length === 1 ? "One result deleted" : `${ids.length} results deleted`, {
        label: "Undo",
        act: () => {
          clearTimeout(timer);
          for (const id of ids) leaving.delete(id);
          for (const [card, follower] of spots.reverse()) list.insertBefore(card, follower?.parentNode === list ? follower : null);
          marks();
        },
      });
      marks();
    }
    let due = 0;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      const domain = form.elements.domain.value, task = form.elements.task;
      for (const option of task.options) option.hidden = option.disabled = Boolean(domain && option.value && !option.value.startsWith(`${domain}.`));
      if (task.selectedOptions[0]?.disabled) task.value = "";
      clearTimeout(due);
      due = setTimeout(() => load(true), PAUSE);
    });
    root.addEventListener("change", (event) => {
      if (!event.target.matches("[data-pick]")) return;
      const now = chosen(), id = event.target.closest("[data-id]").dataset.id;
      if (event.target.checked) now.add(id); else now.delete(id);
      choose(now);
    });
    root.addEventListener("click", async (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const card = button.closest("[data-id]");
      if ("remove" in button.dataset) remove([card.dataset.id]);
      else if ("do" in button.dataset) await pin(button, card.dataset.id);
      else if ("compareChosen" in button.dataset) compare();
      else if ("clearChosen" in button.dataset) choose([]);
      else if ("removeChosen" in button.dataset) remove([...chosen()]);
      else if ("zipChosen" in button.dataset) location.assign(at(`pages/zip?${[...chosen()].map((id) => `job=${id}`).join("&")}`));
      else if ("closeComparison" in button.dataset) { place.replaceChildren(); root.querySelector("[data-compare-chosen]").focus(); }
    });
    document.addEventListener("langevin-chosen", marks);
    whenSeen(root, async () => {
      await load(true);
      if (compareAtOnce) { compareAtOnce = false; compare(); }
    });
    whenSeen(end, () => { atEnd = true; load(false); }, () => { atEnd = false; });
  }

  async function pin(button, id) {
    try {
      const { pinned } = await order(id, button.dataset.do);
      button.dataset.do = pinned ? "unpin" : "pin";
      button.setAttribute("aria-pressed", String(pinned));
      button.textContent = pinned ? "Pinned" : "Pin";
      button.closest("[data-id]")?.toggleAttribute("data-pinned", pinned);
    } catch (error) {
      complain(error);
    }
  }

  // ---- queue: only what has changed is touched
  function queue(element) {
    const root = element.querySelector(".queue");
    let timer = 0, seen = false, asking = false;
    const sameButton = (item, focused) => [...item.querySelectorAll("button, select, a")]
      .find((other) => ["do", "move", "priority", "open"].some((name) => name in focused.dataset && other.dataset[name] === focused.dataset[name])
        && other.getAttribute("aria-label") === focused.getAttribute("aria-label"));
    function draw(section, rows) {
      const list = section.querySelector("ol"), known = new Map([...list.children].map((item) => [item.dataset.id, item]));
      rows.forEach((row, index) => {
        const focused = document.activeElement, item = known.get(row.id) ?? document.createElement("li");
        const within = item.contains(focused) ? focused : null;
        known.delete(row.id);
        if (item.drawn !== row.html) {
          item.dataset.id = row.id;
          item.innerHTML = row.html;
          item.drawn = row.html;
          localTimes(item);
        }
        if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
        if (within && document.activeElement !== within) (within.isConnected ? within : sameButton(item, within) ?? item.querySelector("a")).focus();
        item.dataset.state = row.state;
        const words = item.querySelector("[data-words]"), bar = item.querySelector(".bar");
        if (words.textContent !== row.words) words.textContent = row.words;
        bar.hidden = !["running", "paused"].includes(row.state);
        bar.setAttribute("aria-valuenow", Math.round(100 * row.share));
        bar.firstElementChild.style.transform = `scaleX(${row.share})`;
      });
      for (const item of known.values()) item.remove();
      section.hidden = !rows.length;
    }
    async function look() {
      clearTimeout(timer);
      if (!seen || asking) return;
      asking = true;
      let pause = LOOK_IDLE;
      try {
        if (!document.hidden) {
          const now = await get("pages/queue");
          for (const [name, rows] of Object.entries(now.sections)) draw(root.querySelector(`[data-section=${name}]`), rows);
          const summary = root.querySelector("[data-summary]"), more = root.querySelector("[data-more]");
          if (summary.textContent !== now.summary) summary.textContent = now.summary;
          more.hidden = now.more <= 0;
          more.textContent = `${now.more} more wait behind these.`;
          if (now.active) pause = LOOK;
        }
      } catch {
        root.querySelector("[data-summary]").textContent = "The app does not answer; trying again.";
      }
      asking = false;
      if (seen) timer = setTimeout(look, pause);
    }
    async function act(item, verb, body) {
      try {
        await order(item.dataset.id, verb, body);
      } catch (error) {
        complain(error);
      }
      asking = false;
      look();
    }
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button"), item = button?.closest("li");
      if (!item) return;
      if (button.dataset.do) act(item, button.dataset.do);
      else if ("move" in button.dataset) act(item, "move", { before: button.dataset.before });
    });
    root.addEventListener("change", (event) => {
      if ("priority" in event.target.dataset) act(event.target.closest("li"), "priority", { priority: Number(event.target.value) });
    });
    whenSeen(root, () => { seen = true; look(); }, () => { seen = false; clearTimeout(timer); });
  }

  // ---- settings
  function settings(element) {
    const root = element.querySelector(".settings"), server = root.querySelector("[data-server]");
    async function load() {
      for (const name of ["theme", "motion"]) {
        const now = localStorage.getItem(`langevin-${name}`) ?? "";
        for (const choice of root.querySelectorAll(`[name=${name}]`)) choice.checked = choice.value === now;
      }
      try {
        const { html } = await get("pages/settings");
        if (server.drawn !== html) server.innerHTML = html;
        server.drawn = html;
      } catch (error) {
        complain(error);
      }
    }
    root.addEventListener("change", ({ target }) => {
      if (target.name === "theme") langevin.theme(target.value);
      if (target.name === "motion") langevin.motion(target.value);
    });
    root.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-clear-out]");
      if (!button) return;
      if (!("sure" in button.dataset)) {
        button.dataset.sure = "";
        button.textContent = `Press again to remove ${button.dataset.what} for good`;
        setTimeout(() => { delete button.dataset.sure; button.textContent = `Clear out ${button.dataset.what}`; }, LEAVE);
        return;
      }
      button.disabled = true;
      try {
        notice((await post("pages/clear")).words);
      } catch (error) {
        complain(error);
      }
      load();
    });
    whenSeen(root, load);
  }

  // ---- the actions under an answer
  async function replay(button) {
    const after = button.closest("[data-for]"), id = after.dataset.for, words = after.querySelector(".verdict");
    button.disabled = true;
    try {
      const made = await order(id, "replay");
      for (;;) {
        const now = await get(`pages/replay/${made.id}?of=${id}`);
        words.dataset.verdict = now.state;
        words.textContent = now.words;
        if (now.state !== "running" || !words.isConnected) break;
        await new Promise((resolve) => setTimeout(resolve, LOOK));
      }
    } catch (error) {
      words.dataset.verdict = "failed";
      words.textContent = error.message;
    }
    button.disabled = false;
  }
  function compareWith(id) {
    const now = chosen();
    if (now.has(id)) now.delete(id); else now.add(id);
    const two = [...now].slice(-2);
    choose(two);
    if (!two.includes(id)) return notice("Not chosen for comparison any more");
    if (two.length === 2) notice("Two results chosen", { label: "Compare them", act: () => { compareAtOnce = true; ask({ page: "gallery" }); } });
    else notice("Chosen; press Compare under another result too");
  }
  const compareMarks = () => {
    const now = chosen();
    for (const button of document.querySelectorAll(".after [data-compare]")) {
      button.setAttribute("aria-pressed", String(now.has(button.closest("[data-for]").dataset.for)));
    }
  };
  document.addEventListener("langevin-chosen", compareMarks);
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const opens = target?.closest("[data-open]");
    if (opens && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      return ask({ open: opens.dataset.open });
    }
    if (target?.closest("[data-restore]")) return document.querySelector("[data-restore-file]").click();
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
    const button = target?.closest(".after button"), id = button?.closest("[data-for]").dataset.for;
    if (!button) return;
    if ("replay" in button.dataset) replay(button);
    else if ("vary" in button.dataset) ask({ vary: id });
    else if ("compare" in button.dataset) compareWith(id);
    else if ("do" in button.dataset) pin(button, id);
    else if ("send" in button.dataset) ask({ send: id, artifact: button.dataset.artifact, task: button.dataset.task, field: button.dataset.field });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.firstElementChild.focus(); }
  });

  Object.assign(window.langevin, { ask, compareMarks, gallery, listen, notice, queue, settings, told });
})();
