// Sound: played by the browser; its waveform and spectrogram are drawn here, and a click on them moves to that moment.
{
  const { register, main, make, slider, canvas, address, now } = globalThis.frame;
  const LONGEST = 600, WINDOW = 1024, COLUMNS = 900, RANGE = 80; // seconds, samples, columns, decibels
  const drawn = [];
  let player = null, samples = null, rate = 0, picture = null, levels = null;

  // Samples a second as the header says, so that the browser does not resample what is to be drawn.
  function headerRate(data) {
    const view = new DataView(data), text = (at, length) => String.fromCharCode(...new Uint8Array(data, at, length));
    try {
      if (text(0, 4) === "RIFF") {
        for (let at = 12; at + 24 < view.byteLength; at += 8 + view.getUint32(at + 4, true) + view.getUint32(at + 4, true) % 2) {
          if (text(at, 4) === "fmt ") return view.getUint32(at + 12, true);
        }
      }
      if (text(0, 4) === "fLaC") return view.getUint32(18) >>> 12;
    } catch { /* a header that is cut off */ }
    return 0;
  }
  const heard = (target, name) => new Promise((resolve, reject) => {
    target.addEventListener(name, resolve, { once: true });
    target.addEventListener("error", () => reject(new Error("it is damaged, or of a kind that this browser does not play")), { once: true });
  });

  async function decode(data) {
    const given = headerRate(data);
    rate = given >= 3000 && given <= 384_000 ? given : 48_000;
    const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(data);
    const mixed = new Float32Array(sound.length);
    for (let c = 0; c < sound.numberOfChannels; c++) {
      const channel = sound.getChannelData(c);
      for (let i = 0; i < mixed.length; i++) mixed[i] += channel[i] / sound.numberOfChannels;
    }
    return { mixed, channels: sound.numberOfChannels };
  }

  function colour(share) {
    // From the ground to the accent to its contrary: dark stays dark, loud stands out, in both looks.
    const low = now.dark ? [16, 20, 23] : [245, 246, 247], mid = now.dark ? [30, 110, 125] : [70, 150, 165], high = now.dark ? [235, 250, 252] : [4, 40, 50];
    const [a, b, t] = share < 0.5 ? [low, mid, share * 2] : [mid, high, share * 2 - 1];
    return a.map((value, i) => value + t * (b[i] - value));
  }
  function paintPicture() {
    const half = WINDOW / 2, columns = levels.length / half, image = new ImageData(columns, half);
    for (let x = 0; x < columns; x++) {
      for (let y = 0; y < half; y++) {
        const share = Math.min(1, Math.max(0, 1 + levels[x * half + y] / RANGE));
        image.data.set([...colour(share), 255], 4 * ((half - 1 - y) * columns + x));
      }
    }
    picture = new OffscreenCanvas(columns, half);
    picture.getContext("2d").putImageData(image, 0, 0);
  }
  const ink = (name, other) => now.colours[name] ?? other;
  const SIDE = 48; // room for the numbers on the left

  function cursor(context, width, height) {
    const x = SIDE + (width - SIDE) * (player.currentTime / (player.duration || 1));
    context.fillStyle = ink("doubt", "#b4530a");
    context.fillRect(x - 1, 0, 2, height);
  }
  function paintWave(context, width, height) {
    const across = Math.max(1, Math.floor(width - SIDE)), middle = height / 2;
    context.fillStyle = ink("accent", "#0a6272");
    for (let x = 0; x < across; x++) {
      const from = Math.floor(x * samples.length / across), to = Math.max(from + 1, Math.floor((x + 1) * samples.length / across));
      let low = 1, high = -1;
      for (let i = from; i < to; i++) { if (samples[i] < low) low = samples[i]; if (samples[i] > high) high = samples[i]; }
      const y = middle - high * middle;
      context.fillRect(SIDE + x, y, 1, Math.max(1, (high - low) * middle));
    }
    scale(context, height, [["1", 0], ["0", 0.5], ["−1", 1]]);
    cursor(context, width, height);
  }
  function paintSpectrum(context, width, height) {
    if (picture) context.drawImage(picture, SIDE, 0, width - SIDE, height - 20);
    const top = rate / 2000, step = [0.5, 1, 2, 4, 5, 10, 20, 50].find((s) => top / s <= 6) ?? 50;
    const marks = [];
    for (let f = 0; f <= top; f += step) marks.push([`${f} kHz`, 1 - f / top]);
    scale(context, height - 20, marks);
    const length = player.duration || 1, tick = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120].find((s) => length / s <= width / 90) ?? 120;
    context.textAlign = "center"; context.textBaseline = "top";
    for (let t = 0; t <= length + 1e-9; t += tick) {
      const x = SIDE + (width - SIDE) * t / length, words = `${Number(t.toFixed(1))} s`;
      context.fillText(words, Math.min(width - 16, Math.max(SIDE + 10, x)), height - 16);
    }
    cursor(context, width, height - 20);
  }
  function scale(context, height, marks) {
    context.fillStyle = ink("quiet", "#56616b");
    context.font = "12px ui-sans-serif, system-ui, sans-serif";
    context.textAlign = "right"; context.textBaseline = "middle";
    for (const [words, share] of marks) context.fillText(words, SIDE - 6, Math.min(height - 7, Math.max(7, share * height)));
  }

  async function show([file]) {
    player = make("audio", { controls: true, preload: "auto", "aria-label": file.title });
    const known = heard(player, "loadedmetadata");
    player.src = address(file);
    main().append(make("div", { class: "bar top" }, player));
    await known;
    if (!(player.duration <= LONGEST)) {
      main().append(make("p", { class: "words" }, `Waveform and spectrogram are drawn for sound of up to ${LONGEST / 60} minutes.`));
      return;
    }
    const { mixed, channels } = await decode(file.data);
    samples = mixed;
    const length = player.duration, words = `${file.title}, ${length.toFixed(2)} seconds`;
    const wave = canvas({ role: "img", "aria-label": `Waveform of ${words}` }, paintWave);
    const spectrum = canvas({ role: "img", "aria-label": `Spectrogram of ${words}, up to ${(rate / 2000).toFixed(1)} kilohertz` }, paintSpectrum);
    drawn.push(wave, spectrum);
    const moment = slider("Moment", { max: length, step: length / 1000, say: (t) => `${t.toFixed(2)} s`, oninput: (t) => { player.currentTime = t; } });
    const facts = `${rate / 1000} kHz, ${channels === 1 ? "mono" : channels === 2 ? "stereo, drawn mixed" : `${channels} channels, drawn mixed`}; grey to dark is ${RANGE} dB`;
    main().append(make("div", { class: "stage wave" }, wave.element), make("div", { class: "stage spectrum" }, spectrum.element),
      make("div", { class: "bar" }, moment.row, make("span", { class: "words" }, now.dark ? facts.replace("grey to dark", "dark to light") : facts)));
    for (const { element } of drawn) {
      element.addEventListener("pointerdown", (event) => {
        player.currentTime = Math.min(length, Math.max(0, length * (event.offsetX - SIDE) / (element.clientWidth - SIDE)));
      });
    }
    const follow = () => { moment.set(player.currentTime); for (const part of drawn) part.again(); };
    for (const name of ["timeupdate", "seeking", "seeked"]) player.addEventListener(name, follow);
    levels = await globalThis.fourier.spectrogram(samples, Math.max(1, Math.min(COLUMNS, Math.ceil(samples.length / (WINDOW / 8)))), WINDOW);
    paintPicture();
    for (const part of drawn) part.paint();
  }

  register({
    show,
    look() {
      if (levels) paintPicture();
      for (const part of drawn) part.again();
    },
  });
}
