// Wavefront OBJ and Stanford PLY as plain arrays.  three.js, as trimesh ships it, reads glTF alone.
globalThis.shapes = (() => {
  const MOST = 6e6; // vertices, and corners of faces
  const tooMany = () => new Error("it holds more than is drawn here; download it instead");
  const cutOff = () => new Error("it is damaged or cut off");

  // v, vn and f; colours behind the coordinates, as many programs write them; polygons as fans.
  function obj(text) {
    const points = [], normals = [], colours = [], corners = [];
    for (const match of text.matchAll(/^[ \t]*(v|vn|f)[ \t]+(.*)$/gm)) {
      const words = match[2].trim().split(/\s+/);
      if (match[1] === "v") {
        points.push(+words[0], +words[1], +words[2]);
        if (words.length >= 6) colours.push(+words[3], +words[4], +words[5]);
      } else if (match[1] === "vn") normals.push(+words[0], +words[1], +words[2]);
      else {
        const each = words.map((word) => word.split("/"));
        for (let i = 1; i + 1 < each.length; i++) corners.push(each[0], each[i], each[i + 1]);
      }
      if (points.length > 3 * MOST || corners.length > MOST) throw tooMany();
    }
    const count = points.length / 3, coloured = colours.length === points.length;
    if (!count) throw new Error("it holds no points");
    const at = (word, many) => { const i = +word; return i < 0 ? many + i : i - 1; };
    if (!corners.length) return { positions: Float32Array.from(points), colours: coloured ? Float32Array.from(colours) : null, index: null, normals: null };
    // Where every corner has a normal of its own, corners are taken apart; else they share their points.
    if (normals.length && corners.every((corner) => corner[2])) {
      const out = { positions: new Float32Array(3 * corners.length), normals: new Float32Array(3 * corners.length), colours: coloured ? new Float32Array(3 * corners.length) : null, index: null, faces: true };
      corners.forEach((corner, i) => {
        const v = at(corner[0], count), n = at(corner[2], normals.length / 3);
        if (!(v >= 0 && v < count)) throw cutOff();
        for (let k = 0; k < 3; k++) {
          out.positions[3 * i + k] = points[3 * v + k];
          out.normals[3 * i + k] = normals[3 * n + k] ?? 0;
          if (coloured) out.colours[3 * i + k] = colours[3 * v + k];
        }
      });
      return out;
    }
    const index = Uint32Array.from(corners, (corner) => at(corner[0], count));
    if (index.some((v) => v >= count)) throw cutOff();
    return { positions: Float32Array.from(points), normals: null, colours: coloured ? Float32Array.from(colours) : null, index };
  }

  const READ = { char: ["getInt8", 1], uchar: ["getUint8", 1], short: ["getInt16", 2], ushort: ["getUint16", 2], int: ["getInt32", 4], uint: ["getUint32", 4],
    float: ["getFloat32", 4], double: ["getFloat64", 8], int8: ["getInt8", 1], uint8: ["getUint8", 1], int16: ["getInt16", 2], uint16: ["getUint16", 2],
    int32: ["getInt32", 4], uint32: ["getUint32", 4], float32: ["getFloat32", 4], float64: ["getFloat64", 8] };

  function plyHeader(data) {
    const head = new TextDecoder("latin1").decode(data.slice(0, 65_536)), end = /\nend_header\r?\n/.exec(head);
    if (!end) throw cutOff();
    const elements = [];
    let format = "";
    for (const line of head.slice(0, end.index).split(/\r?\n/)) {
      const words = line.trim().split(/\s+/);
      if (words[0] === "format") format = words[1];
      if (words[0] === "element") elements.push({ name: words[1], count: Number(words[2]), properties: [] });
      if (words[0] === "property") {
        const list = words[1] === "list", property = { name: words.at(-1), type: words.at(-2), of: list ? words[2] : null };
        if (!READ[property.type] || (list && !READ[property.of])) throw cutOff();
        elements.at(-1)?.properties.push(property);
      }
    }
    if (elements.some(({ count }) => !(Number.isInteger(count) && count >= 0))) throw cutOff();
    if (elements.some(({ count }) => count > MOST)) throw tooMany();
    return { format, elements, start: end.index + end[0].length };
  }
  // One number after the other, from text or from binary of either order.
  function numbers(data, { format, start }) {
    if (format === "ascii") {
      const words = new TextDecoder().decode(data.slice(start)).matchAll(/\S+/g);
      return () => { const next = words.next(); if (next.done) throw cutOff(); return Number(next.value[0]); };
    }
    const view = new DataView(data), little = format === "binary_little_endian";
    let at = start;
    return (type) => {
      const [read, wide] = READ[type];
      if (at + wide > view.byteLength) throw cutOff();
      const value = view[read](at, little);
      at += wide;
      return value;
    };
  }
  function ply(data) {
    const header = plyHeader(data), next = numbers(data, header), columns = {}, corners = [];
    let count = 0;
    for (const element of header.elements) {
      const vertices = element.name === "vertex", faces = element.name === "face";
      if (vertices) {
        count = element.count;
        for (const { name, of } of element.properties) if (!of) columns[name] = new Float32Array(count);
      }
      for (let row = 0; row < element.count; row++) {
        for (const { name, type, of } of element.properties) {
          if (!of) { const value = next(type); if (vertices) columns[name][row] = value; continue; }
          const many = next(of), list = [];
          if (!(many >= 0 && many <= 10_000)) throw cutOff();
          for (let i = 0; i < many; i++) list.push(next(type));
          if (faces && /^vertex_ind/.test(name)) for (let i = 1; i + 1 < many; i++) corners.push(list[0], list[i], list[i + 1]);
          if (corners.length > MOST) throw tooMany();
        }
      }
    }
    if (!count || !columns.x || !columns.y || !columns.z) throw new Error("it holds no points");
    if (columns.f_dc_0 && columns.opacity && columns.scale_0 && columns.rot_0) return { splats: columns, count };
    if (corners.some((v) => !(v >= 0 && v < count))) throw cutOff();
    const woven = (names, scale = 1) => names.every((name) => columns[name]) ? Float32Array.from({ length: 3 * count }, (_, i) => columns[names[i % 3]][Math.floor(i / 3)] * scale) : null;
    const whole = header.elements.find((element) => element.name === "vertex").properties.some(({ name, type }) => name === "red" && /char|int8/.test(type));
    return { positions: woven(["x", "y", "z"]), normals: woven(["nx", "ny", "nz"]), colours: woven(["red", "green", "blue"], whole ? 1 / 255 : 1), index: corners.length ? Uint32Array.from(corners) : null };
  }
  return { obj, ply };
})();
