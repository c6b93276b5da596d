// Films and animated pictures: played, stepped frame by frame, with a strip of small pictures along their time.
{
  const { register, main, make, button, slider, canvas, blob, address, now } = globalThis.frame;
  const { ofMp4, seconds } = globalThis.moments;
  const PICTURES = 10, MOST_DECODED = 600, MOST_HELD = 256 * 2 ** 20; // bytes
  const TYPES = { GIF8: "image/gif", RIFF: "image/webp", "\x89PNG": "image/png" };
  let redraw = () => {};

  const kind = (data) => TYPES[String.fromCharCode(...new Uint8Array(data, 0, 4))] ?? null;

  // The parts that both kinds share: the strip, the slider under it, and the buttons; `go(frame)` shows one.
  function controls({ count, timeOf, go, toggle }) {
    let at = 0;
    const strip = make("div", { class: "strip", "aria-hidden": "true" });
    const words = (i) => `frame ${i + 1} of ${count()} · ${seconds(timeOf(i))}`;
    const where = slider("Frame", { max: Math.max(0, count() - 1), say: words, oninput: (i) => { at = i; go(i); } });
    const step = (by) => { at = Math.min(count() - 1, Math.max(0, at + by)); where.set(at); go(at); };
    const play = toggle ? button("Play", toggle) : null;
    const bar = make("div", { class: "bar" }, ...(play ? [play] : []),
      button("Back", () => step(-1), { "aria-label": "One frame back" }), button("Forward", () => step(1), { "aria-label": "One frame forward" }), where.row);
    addEventListener("keydown", (event) => {
      if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
      const act = { ",": () => step(-1), ".": () => step(1), " ": event.target instanceof HTMLButtonElement ? null : toggle }[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    strip.addEventListener("click", (event) => {
      const share = (event.clientX - strip.getBoundingClientRect().left) / strip.clientWidth;
      step(Math.round(share * (count() - 1)) - at);
    });
    return { strip, bar, play, at: () => at, moved(i) { at = i; where.set(i); }, recount() { where.range(0, count() - 1); } };
  }
  function thumbnail(strip, source, width, height) {
    const tall = 56, small = make("canvas", { width: Math.max(1, Math.round(tall * width / height)), height: tall });
    small.getContext("2d").drawImage(source, 0, 0, small.width, small.height);
    strip.append(small);
  }

  // ---- films -------------------------------------------------------------------------------------------------------
  const heard = (target, name) => new Promise((resolve, reject) => {
    target.addEventListener(name, resolve, { once: true });
    target.addEventListener("error", () => reject(new Error("it is damaged, or of a kind that this browser does not play")), { once: true });
  });
  function seek(video, time) {
    const there = heard(video, "seeked");
    video.currentTime = time;
    return there;
  }

  async function showVideo(file) {
    const url = address(file), video = make("video", { controls: true, playsinline: true, loop: false, preload: "auto", "aria-label": file.title });
    const ready = heard(video, "loadeddata");
    video.src = url;
    main().append(make("div", { class: "stage film" }, video));
    await ready;
    const times = ofMp4(file.data);
    const known = Boolean(times), length = Number.isFinite(video.duration) ? video.duration : 0;
    const count = () => known ? times.length : Math.max(1, Math.round(length * 30));
    const timeOf = (i) => known ? times[i] : i / 30;
    const half = known && times.length > 1 ? (times[1] - times[0]) / 2 : 1 / 60; // within a frame, not on its edge
    // One seek at a time; of the frames that are asked for meanwhile, the last one counts.
    let wanted = null;
    const go = (i) => {
      video.pause();
      wanted = i;
      if (!video.seeking) reach();
    };
    // A busy browser may end a seek and leave the old picture on the screen; then it is asked once more.
    let presented = true, again = 0;
    const seekTo = (time) => {
      presented = !video.requestVideoFrameCallback;
      video.requestVideoFrameCallback?.(() => { presented = true; });
      video.currentTime = time;
    };
    const reach = () => {
      if (wanted === null) {
        setTimeout(() => { if (!presented && again-- > 0 && video.paused && !video.seeking) seekTo(video.currentTime + 1e-4); }, 300);
        return;
      }
      again = 3;
      seekTo(Math.min(length, timeOf(wanted) + half));
      wanted = null;
    };
    video.addEventListener("seeked", reach);
    const parts = controls({ count, timeOf, go });
    const follow = () => {
      if (wanted !== null) return;
      let i = 0;
      for (let low = 0, high = count() - 1; low <= high;) {
        const mid = (low + high) >> 1;
        if (timeOf(mid) <= video.currentTime + 1e-3) { i = mid; low = mid + 1; } else high = mid - 1;
      }
      parts.moved(i);
    };
    video.addEventListener("timeupdate", follow);
    if (!known) parts.bar.append(make("span", { class: "words" }, "30 frames a second assumed"));
    main().append(parts.strip, parts.bar);
    strip(url, length, parts.strip);
  }
  // A second player, which is not seen, seeks through the film for the strip.
  async function strip(url, length, into) {
    const video = make("video", { muted: true, preload: "auto" });
    video.muted = true;
    const ready = heard(video, "loadeddata");
    video.src = url;
    try {
      await ready;
      for (let i = 0; i < PICTURES; i++) {
        await seek(video, length * (i + 0.5) / PICTURES);
        thumbnail(into, video, video.videoWidth, video.videoHeight);
      }
    } catch { /* a film without a strip is still a film */ }
    into.dataset.done = "yes";
    video.removeAttribute("src");
  }

  // ---- animated pictures ----------------------------------------------------------------------------------------------
  async function showAnimation(file, type) {
    const [width, height] = globalThis.pictures.bounded(file.data);
    if (typeof ImageDecoder === "undefined" || !(await ImageDecoder.isTypeSupported(type))) return showPlain(file, type);
    const decoder = new ImageDecoder({ data: file.data, type });
    await decoder.tracks.ready;
    await decoder.completed;
    const count = Math.min(decoder.tracks.selectedTrack.frameCount, MOST_DECODED, Math.max(1, Math.floor(MOST_HELD / (4 * width * height))));
    const left_out = decoder.tracks.selectedTrack.frameCount - count;
    const frames = [], times = [];
    let clock = 0;
    for (let i = 0; i < count; i++) {
      let image;
      try {
        ({ image } = await decoder.decode({ frameIndex: i }));
      } catch {
        if (!i) throw new Error("it is damaged");
        break;
      }
      times.push(clock);
      clock += (image.duration ?? 100_000) / 1e6 || 0.1;
      frames.push(await createImageBitmap(image));
      image.close();
    }
    decoder.close();
    let timer = 0;
    const view = canvas({ role: "img", "aria-label": file.title }, (context, wide, tall) => {
      let scale = Math.min(wide / width, tall / height);
      if (scale > 1) scale = Math.min(Math.floor(scale), 8);
      context.imageSmoothingEnabled = scale < 2;
      context.drawImage(frames[parts.at()], (wide - width * scale) / 2, (tall - height * scale) / 2, width * scale, height * scale);
    });
    const stop = () => { clearTimeout(timer); timer = 0; parts.play.textContent = "Play"; };
    const next = () => {
      parts.moved((parts.at() + 1) % frames.length);
      view.again();
      wait();
    };
    const wait = () => { timer = setTimeout(next, 1000 * ((times[parts.at() + 1] ?? clock) - times[parts.at()])); };
    const start = () => { parts.play.textContent = "Pause"; wait(); };
    const parts = controls({ count: () => frames.length, timeOf: (i) => times[i], go: () => { if (timer) stop(); view.again(); },
      toggle: () => timer ? stop() : start() });
    main().append(make("div", { class: "stage" }, view.element), parts.strip, parts.bar);
    for (let i = 0; i < Math.min(PICTURES, frames.length); i++) {
      thumbnail(parts.strip, frames[Math.floor(i * frames.length / Math.min(PICTURES, frames.length))], width, height);
    }
    parts.strip.dataset.done = "yes";
    if (left_out > 0) parts.bar.append(make("span", { class: "words" }, `the first ${count} frames; the file has ${count + left_out}`));
    redraw = () => { if (now.calm && timer) stop(); view.again(); };
    view.paint();
    if (!now.calm && frames.length > 1) start();
  }
  // A browser that cannot take an animation apart still plays it.
  async function showPlain(file, type) {
    const image = make("img", { class: "plain", alt: file.title });
    image.src = URL.createObjectURL(blob(file, type));
    await image.decode();
    main().append(make("div", { class: "stage film" }, image),
      make("div", { class: "bar" }, make("span", { class: "words" }, "This browser plays the animation but cannot step through it.")));
  }

  register({
    async show([file]) {
      const type = kind(file.data);
      await (type ? showAnimation(file, type) : showVideo(file));
    },
    look: () => redraw(),
  });
}
