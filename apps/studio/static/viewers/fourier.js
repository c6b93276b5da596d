// A radix-2 Fourier transform, and the spectrogram that is drawn from it.
globalThis.fourier = (() => {
  // Of a real signal whose length is a power of two; in place, over `re` and `im` (Cooley and Tukey, 1965).
  function transform(re, im) {
    const n = re.length;
    for (let i = 1, j = 0; i < n; i++) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
    }
    for (let size = 2; size <= n; size <<= 1) {
      const half = size >> 1, turn = -2 * Math.PI / size;
      for (let k = 0; k < half; k++) {
        const wr = Math.cos(turn * k), wi = Math.sin(turn * k);
        for (let i = k; i < n; i += size) {
          const j = i + half, xr = re[j] * wr - im[j] * wi, xi = re[j] * wi + im[j] * wr;
          re[j] = re[i] - xr; im[j] = im[i] - xi;
          re[i] += xr; im[i] += xi;
        }
      }
    }
  }

  // Level in decibels (0 is a sine at full scale), column by column of `size / 2` bins, over a Hann window; awaits now
  // and then, so that the page stays awake.
  async function spectrogram(samples, columns, size = 1024) {
    const half = size / 2, levels = new Float32Array(columns * half);
    const taper = Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / size));
    const re = new Float32Array(size), im = new Float32Array(size);
    const step = columns > 1 ? (samples.length - size) / (columns - 1) : 0;
    for (let column = 0; column < columns; column++) {
      const start = Math.round(step > 0 ? column * step : 0);
      for (let i = 0; i < size; i++) { re[i] = (samples[start + i] ?? 0) * taper[i]; im[i] = 0; }
      transform(re, im);
      for (let k = 0; k < half; k++) levels[column * half + k] = 20 * Math.log10(Math.hypot(re[k], im[k]) * 4 / size + 1e-9);
      if (column % 64 === 63) await new Promise((resolve) => setTimeout(resolve));
    }
    return levels;
  }
  return { transform, spectrogram };
})();
