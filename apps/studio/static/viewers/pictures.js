// What a picture's header says of its size, so that no small file unfolds into more than the browser should hold.
const MOST_PIXELS = 100e6;

// Width and height of PNG, JPEG, GIF and WebP; null where the header is not as it should be.
function pictureSize(data) {
  const view = new DataView(data), bytes = new Uint8Array(data);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  try {
    if (text(1, 3) === "PNG") return [view.getUint32(16), view.getUint32(20)];
    if (text(0, 3) === "GIF") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (text(0, 4) === "RIFF") {
      const kind = text(12, 4);
      if (kind === "VP8X") return [0, 3].map((at) => 1 + (view.getUint32(24 + at, true) & 0xffffff));
      if (kind === "VP8L") { const bits = view.getUint32(21, true); return [1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)]; }
      return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
    }
    for (let at = 2; at < bytes.length - 9;) {
      if (bytes[at] !== 0xff) return null;
      const marker = bytes[at + 1];
      if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return [view.getUint16(at + 7), view.getUint16(at + 5)];
      at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
    }
  } catch { /* the header is cut off */ }
  return null;
}

globalThis.pictures = {
  size: pictureSize,
  bounded(data) {
    const size = pictureSize(data);
    if (!size || !size[0] || !size[1]) throw new Error("it is damaged");
    if (size[0] * size[1] > MOST_PIXELS) throw new Error(`${size[0]} × ${size[1]} pixels are more than are shown here; download it instead`);
    return size;
  },
};
