// The header of a NIfTI file, read before anything is unfolded (nifti.nimh.nih.gov, nifti1.h and nifti2.h).
globalThis.nifti = (() => {
  const MOST_BYTES = 1024 * 2 ** 20, MOST_VOXELS = 160e6, SAMPLES = 40_000;
  const READ = { 2: ["getUint8", 1], 4: ["getInt16", 2], 8: ["getInt32", 4], 16: ["getFloat32", 4], 64: ["getFloat64", 8], 256: ["getInt8", 1],
    512: ["getUint16", 2], 768: ["getUint32", 4] };

  async function plain(data) {
    const head = new Uint8Array(data, 0, 2);
    if (head[0] !== 0x1f || head[1] !== 0x8b) return data;
    const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
    const parts = [];
    let size = 0;
    for (;;) {
      let step;
      try { step = await reader.read(); } catch { throw new Error("it is damaged"); }
      if (step.done) break;
      size += step.value.length;
      if (size > MOST_BYTES) { reader.cancel(); throw new Error("unpacked, it is larger than what is shown here; download it instead"); }
      parts.push(step.value);
    }
    return new Blob(parts).arrayBuffer();
  }

  function header(data) {
    const view = new DataView(data), size = [view.getInt32(0, true), view.getInt32(0, false)];
    const little = size[0] === 348 || size[0] === 540, second = size.includes(540);
    if (!size.includes(348) && !second) throw new Error("it is no NIfTI file");
    const dims = Array.from({ length: 8 }, (_, i) => second ? Number(view.getBigInt64(16 + 8 * i, little)) : view.getInt16(40 + 2 * i, little));
    const type = view.getInt16(second ? 12 : 70, little);
    const float = (at, wide) => second ? view.getFloat64(wide, little) : view.getFloat32(at, little);
    const offset = second ? Number(view.getBigInt64(168, little)) : view.getFloat32(108, little);
    const slope = float(112, 176) || 1, inter = float(116, 184) || 0;
    const count = dims.slice(1, 1 + Math.min(7, Math.max(0, dims[0]))).reduce((product, n) => product * Math.max(1, n), 1);
    if (!(dims[0] >= 2 && dims[0] <= 7) || dims.slice(1, 4).some((n) => n < 0 || n > 4096)) throw new Error("its header states an impossible size");
    if (count > MOST_VOXELS) throw new Error(`${Math.round(count / 1e6)} million voxels are more than are shown here; download it instead`);
    const [read, wide] = READ[type] ?? [null, 1];
    if (offset + count * wide > data.byteLength) throw new Error("it is cut off");
    return { view, little, dims: dims.slice(1, 4).map((n) => Math.max(1, n)), frames: Math.max(1, dims[4] || 1), read, wide, offset, slope, inter, count };
  }

  // Lowest and highest value, and those below and above which 1 % lie, over a sample of all voxels.
  function range({ view, little, read, wide, offset, slope, inter, count }) {
    if (!read) return null;
    const step = Math.max(1, Math.floor(count / SAMPLES)), values = [];
    for (let i = 0; i < count; i += step) {
      const value = view[read](offset + i * wide, little) * slope + inter;
      if (Number.isFinite(value)) values.push(value);
    }
    if (!values.length) return null;
    const sorted = Float64Array.from(values).sort();
    return { low: sorted[0], high: sorted.at(-1), dark: sorted[Math.floor(0.01 * sorted.length)], bright: sorted[Math.ceil(0.99 * sorted.length) - 1] };
  }
  return { plain, header, range };
})();
