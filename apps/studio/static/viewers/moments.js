// When the frames of an MP4 file are shown, from its tables (ISO/IEC 14496-12, sections 8.4.2, 8.6.1 and 8.6.1.3).
globalThis.moments = (() => {
  const MOST_FRAMES = 200_000;

  function* boxes(view, start, end) {
    for (let at = start, count = 0; at + 8 <= end && count < 10_000; count++) {
      let size = view.getUint32(at), head = 8;
      const kind = String.fromCharCode(...[4, 5, 6, 7].map((i) => view.getUint8(at + i)));
      if (size === 1 && at + 16 <= end) { size = Number(view.getBigUint64(at + 8)); head = 16; }
      if (size === 0) size = end - at;
      if (size < head || at + size > end) return;
      yield { kind, start: at + head, end: at + size };
      at += size;
    }
  }
  function find(view, { start, end }, ...path) {
    let place = { start, end };
    for (const name of path) {
      place = [...boxes(view, place.start, place.end)].find((box) => box.kind === name);
      if (!place) return null;
    }
    return place;
  }

  // Seconds at which the frames begin, in order; null where the tables do not say.
  function ofMp4(data) {
    try {
      const view = new DataView(data), whole = { start: 0, end: data.byteLength };
      const movie = find(view, whole, "moov");
      if (!movie) return null;
      for (const track of boxes(view, movie.start, movie.end)) {
        if (track.kind !== "trak") continue;
        const kind = find(view, track, "mdia", "hdlr"), clock = find(view, track, "mdia", "mdhd");
        const table = find(view, track, "mdia", "minf", "stbl");
        if (!kind || !clock || !table || view.getUint32(kind.start + 8) !== 0x76696465) continue; // "vide"
        const rate = view.getUint32(clock.start + (view.getUint8(clock.start) ? 20 : 12));
        const spans = find(view, table, "stts"), shifts = find(view, table, "ctts");
        if (!spans || !rate) return null;
        const times = [];
        let now = 0;
        for (let i = 0; i < view.getUint32(spans.start + 4); i++) {
          const count = view.getUint32(spans.start + 8 + 8 * i), span = view.getUint32(spans.start + 12 + 8 * i);
          if (times.length + count > MOST_FRAMES) return null;
          for (let j = 0; j < count; j++) { times.push(now); now += span; }
        }
        if (shifts) {
          let at = 0;
          for (let i = 0; i < view.getUint32(shifts.start + 4); i++) {
            const count = view.getUint32(shifts.start + 8 + 8 * i), shift = view.getInt32(shifts.start + 12 + 8 * i);
            for (let j = 0; j < count && at < times.length; j++) times[at++] += shift;
          }
        }
        times.sort((a, b) => a - b);
        const first = times[0] ?? 0;
        return times.length ? times.map((time) => (time - first) / rate) : null;
      }
    } catch { /* a table that lies */ }
    return null;
  }

  const seconds = (time) => `${time < 60 ? "" : `${Math.floor(time / 60)}:`}${(time % 60).toFixed(2).padStart(time < 60 ? 1 : 5, "0")} s`;
  return { ofMp4, seconds };
})();
