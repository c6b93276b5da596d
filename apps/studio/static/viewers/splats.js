// Gaussian splats (Kerbl et al., 2023): each a Gaussian in space, drawn as its shadow on the screen, the far ones first.
globalThis.splats = (() => {
  const MOST = 1_000_000, ROW = 3 * 512, BINS = 65_536; // splats, texels a row of the texture, steps of depth
  const SH_ZERO = 0.28209479177387814; // the constant spherical harmonic
  const vertex = `precision highp float; precision highp int; precision highp sampler2D;
    uniform sampler2D shapes; uniform mat4 modelViewMatrix, projectionMatrix; uniform vec2 screen;
    in vec3 position; in float which; out vec2 place; out vec4 tint;
    vec4 texel(int part) { int at = 3 * int(which) + part; return texelFetch(shapes, ivec2(at % ${ROW}, at / ${ROW}), 0); }
    void main() {
      vec4 a = texel(0), b = texel(1), c = texel(2);
      vec3 seen = (modelViewMatrix * vec4(a.xyz, 1.0)).xyz;
      float far = -seen.z;
      gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
      if (far < 1e-4) return;
      mat3 turn = mat3(modelViewMatrix);
      mat3 spread = turn * mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y) * transpose(turn);
      // How the picture moves with a point (the paper's J), in pixels.
      vec2 focal = 0.5 * screen * vec2(projectionMatrix[0][0], projectionMatrix[1][1]);
      vec3 jx = vec3(focal.x / far, 0.0, focal.x * seen.x / (far * far)), jy = vec3(0.0, focal.y / far, focal.y * seen.y / (far * far));
      float xx = dot(jx, spread * jx) + 0.3, yy = dot(jy, spread * jy) + 0.3, xy = dot(jx, spread * jy);
      float mean = 0.5 * (xx + yy), apart = sqrt(max(0.0, 0.25 * (xx - yy) * (xx - yy) + xy * xy));
      float large = mean + apart, small = max(0.1, mean - apart);
      vec2 axis = abs(xy) > 1e-6 ? normalize(vec2(xy, large - xx)) : (xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0));
      place = 3.0 * position.xy;
      vec2 shift = min(sqrt(large), 1024.0) * place.x * axis + min(sqrt(small), 1024.0) * place.y * vec2(-axis.y, axis.x);
      vec4 centre = projectionMatrix * vec4(seen, 1.0);
      gl_Position = vec4(centre.xy / centre.w + 2.0 * shift / screen, centre.z / centre.w, 1.0);
      tint = vec4(mod(floor(c.z / vec3(65536.0, 256.0, 1.0)), 256.0) / 255.0, a.w);
    }`;
  const fragment = `precision highp float; in vec2 place; in vec4 tint; out vec4 colour;
    void main() {
      float alpha = tint.a * exp(-0.5 * dot(place, place));
      if (alpha < 0.004) discard;
      colour = vec4(tint.rgb, alpha);
    }`;

  // The columns of a PLY file as the texture that the shader reads: place and opacity, covariance, colour.
  function packed(columns, count) {
    const rows = Math.ceil(3 * count / ROW), texels = new Float32Array(4 * ROW * rows), byte = (v) => Math.round(255 * Math.min(1, Math.max(0, v)));
    for (let i = 0; i < count; i++) {
      let [w, x, y, z] = [0, 1, 2, 3].map((k) => columns[`rot_${k}`][i]);
      const length = Math.hypot(w, x, y, z) || 1;
      w /= length; x /= length; y /= length; z /= length;
      const turn = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
      const square = [0, 1, 2].map((k) => Math.exp(2 * Math.min(20, columns[`scale_${k}`]?.[i] ?? -20)));
      const covariance = (r, c) => turn[3 * r] * square[0] * turn[3 * c] + turn[3 * r + 1] * square[1] * turn[3 * c + 1] + turn[3 * r + 2] * square[2] * turn[3 * c + 2];
      const rgb = [0, 1, 2].map((k) => byte(0.5 + SH_ZERO * (columns[`f_dc_${k}`]?.[i] ?? 0)));
      texels.set([columns.x[i], columns.y[i], columns.z[i], 1 / (1 + Math.exp(-columns.opacity[i])), covariance(0, 0), covariance(0, 1), covariance(0, 2), covariance(1, 1),
        covariance(1, 2), covariance(2, 2), rgb[0] * 65_536 + rgb[1] * 256 + rgb[2], 0], 12 * i);
    }
    return { texels, rows };
  }

  // A mesh of three.js, with `sort(camera)` to be called before each picture.
  function cloud({ splats: columns, count }) {
    if (count > MOST) throw new Error(`${count} splats are more than are drawn here; download it instead`);
    const { texels, rows } = packed(columns, count);
    const texture = new THREE.DataTexture(texels, ROW, rows, THREE.RGBAFormat, THREE.FloatType);
    texture.needsUpdate = true;
    const geometry = new THREE.InstancedBufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array([-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0]), 3));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    const order = new THREE.InstancedBufferAttribute(Float32Array.from({ length: count }, (_, i) => i), 1);
    geometry.setAttribute("which", order);
    geometry.instanceCount = count;
    const box = new THREE.Box3(), point = new THREE.Vector3();
    for (let i = 0; i < count; i++) box.expandByPoint(point.set(columns.x[i], columns.y[i], columns.z[i]));
    geometry.boundingBox = box;
    geometry.boundingSphere = box.getBoundingSphere(new THREE.Sphere());
    const material = new THREE.RawShaderMaterial({ vertexShader: vertex, fragmentShader: fragment, glslVersion: THREE.GLSL3, transparent: true, depthWrite: false,
      uniforms: { shapes: { value: texture }, screen: { value: new THREE.Vector2(1, 1) } } });
    const mesh = new THREE.Mesh(geometry, material);
    mesh.frustumCulled = false;
    const depths = new Float32Array(count), keys = new Uint32Array(count), starts = new Uint32Array(BINS + 1);
    let before = null;
    mesh.sort = (camera, width, height) => {
      material.uniforms.screen.value.set(width, height);
      const view = new THREE.Matrix4().multiplyMatrices(camera.matrixWorldInverse, mesh.matrixWorld).elements, line = [view[2], view[6], view[10]];
      if (before && Math.hypot(...line.map((v, i) => v - before[i])) < 0.01) return;
      before = line;
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < count; i++) {
        const depth = depths[i] = line[0] * columns.x[i] + line[1] * columns.y[i] + line[2] * columns.z[i];
        if (depth < low) low = depth;
        if (depth > high) high = depth;
      }
      const scale = (BINS - 1) / (high - low || 1);
      starts.fill(0);
      for (let i = 0; i < count; i++) starts[(keys[i] = (depths[i] - low) * scale) + 1]++;
      for (let i = 0; i < BINS; i++) starts[i + 1] += starts[i];
      for (let i = 0; i < count; i++) order.array[starts[keys[i]]++] = i;
      order.needsUpdate = true;
    };
    return mesh;
  }
  return { cloud };
})();
