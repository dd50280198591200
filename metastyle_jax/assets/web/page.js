// The page: what is chosen, what is drawn of it, and what is shown.

const COARSE = 192; // short side of the first picture, pixels
const CAMERA = 192; // short side of the pictures of a camera
const SMALLEST = 16; // side that the network needs
const MOST_PIXELS = 2_000_000; // memory of a browser tab is bounded

const element = (id) => document.getElementById(id);
const canvas = element("picture");

let worker;
let about, vectors; // page.json, and a style vector for each row
let source = null; // what is drawn: a canvas of its own size
let number = 0; // of the source
let shown = null; // {before, after}: ImageData of one size
let drawing = false;
let outdated = false; // something changed since the drawing began
let stream = null; // of the camera

function say(text, failed = false) {
  element("status").textContent = text;
  element("status").classList.toggle("failed", failed);
}

async function bytes(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing on this server`);
  const data = await answer.arrayBuffer();
  const [first, second] = new Uint8Array(data, 0, 2);
  if (first !== 0x1f || second !== 0x8b) return data; // a server may unpack it
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

function asked(message) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.onerror = (event) => reject(new Error(event.message || "the drawing part does not start"));
    worker.postMessage(message);
  });
}

// ---- what is chosen

const chosen = (id) => Number(element(id).value);

function styleVector() {
  const style = Number(document.querySelector("#styles input:checked").value);
  const other = element("other").value;
  const share = other === "" ? 0 : chosen("share");
  const ours = vectors[style];
  const theirs = vectors[other === "" ? style : Number(other)];
  let vector = ours.map((value, n) => (1 - share) * value + share * theirs[n]);
  const strength = chosen("strength");
  if (strength > 1) {
    // away from the neutral style, the last row
    const neutral = vectors.at(-1);
    vector = vector.map((value, n) => neutral[n] + strength * (value - neutral[n]));
  }
  const noise = (n) => about.styles[n].noise;
  const deviation = (1 - share) * noise(style) + share * noise(other === "" ? style : Number(other));
  return { vector, deviation };
}

// The source with a short side of at most that many pixels; 0 for its own size.
function sized(shortSide) {
  const { width, height } = source;
  const most = Math.sqrt(MOST_PIXELS / (width * height));
  const scale = Math.min(1, most, (shortSide || Infinity) / Math.min(width, height));
  const [w, h] = [width, height].map((each) => Math.max(SMALLEST, Math.round(scale * each)));
  const small = new OffscreenCanvas(w, h).getContext("2d", { willReadFrequently: true });
  small.imageSmoothingQuality = "high";
  small.drawImage(source, 0, 0, w, h);
  return small.getImageData(0, 0, w, h);
}

// ---- drawing

// Draw what is chosen; while the worker draws, remember that more is to do.
async function draw() {
  if (!about || !source) return;
  if (drawing) {
    outdated = true;
    return;
  }
  drawing = true;
  element("bar").hidden = false;
  try {
    do {
      outdated = false;
      const full = sized(stream ? CAMERA : chosen("size"));
      const isLarge = Math.min(full.width, full.height) > 1.5 * COARSE;
      if (isLarge) await drawAt(sized(COARSE));
      if (!outdated) await drawAt(full);
    } while (outdated);
  } catch (error) {
    say(`The drawing failed: ${error.message}`, true);
  } finally {
    drawing = false;
    element("bar").hidden = true;
  }
}

async function drawAt(before) {
  const { vector, deviation } = styleVector();
  const of = number;
  const { width, height, data } = before;
  const { pixels, seconds } = await asked({ width, height, pixels: data, style: vector, deviation });
  if (of !== number && !stream) return; // another photograph was taken meanwhile
  shown = { before, after: new ImageData(pixels, width, height) };
  show();
  element("save").disabled = false;
  say(`${width} x ${height} pixels, ${seconds.toFixed(2)} s.`);
}

// What was drawn, mixed with the photograph below a strength of 1.
function show() {
  const { before, after } = shown;
  canvas.width = before.width;
  canvas.height = before.height;
  const strength = element("before").checked ? 0 : Math.min(1, chosen("strength"));
  const mixed = new ImageData(before.width, before.height);
  for (let n = 0; n < mixed.data.length; n++) {
    mixed.data[n] = before.data[n] + strength * (after.data[n] - before.data[n]);
  }
  canvas.getContext("2d").putImageData(mixed, 0, 0);
}

// ---- photographs

function take(picture) {
  const opaque = new OffscreenCanvas(picture.width, picture.height);
  const context = opaque.getContext("2d");
  context.fillStyle = "white"; // under transparent pixels
  context.fillRect(0, 0, opaque.width, opaque.height);
  context.drawImage(picture, 0, 0);
  source = opaque;
  number++;
}

async function open(file) {
  if (!file) return;
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    say(`${file.name} is no picture that this browser reads: take a PNG, JPEG or WebP.`, true);
    return;
  }
  if (Math.min(picture.width, picture.height) < SMALLEST) {
    say(`${file.name} is smaller than ${SMALLEST} pixels: take a larger picture.`, true);
    return;
  }
  stopCamera();
  take(picture);
  draw();
}

async function toggleCamera() {
  if (stream) {
    stopCamera();
    draw(); // the last picture, at the chosen size
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch {
    say("The camera cannot be used: allow it in the browser, or take a photograph.", true);
    return;
  }
  element("camera").textContent = "Keep this picture";
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  while (stream) {
    take(await createImageBitmap(video));
    await draw();
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("camera").textContent = "Use the camera";
}

function save() {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "stylized.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

// ---- the page

function connect() {
  element("photograph").onchange = ({ target }) => open(target.files[0]);
  element("camera").onclick = toggleCamera;
  element("save").onclick = save;
  element("before").onchange = () => shown && show();
  element("size").onchange = draw;
  element("styles").onchange = draw;
  element("other").onchange = () => {
    element("share").disabled = element("other").value === "";
    draw();
  };
  element("share").oninput = () => {
    element("share-value").textContent = element("share").value;
    draw();
  };
  let before = 1;
  element("strength").oninput = () => {
    const strength = chosen("strength");
    element("strength-value").textContent = element("strength").value;
    // up to 1 nothing is drawn anew
    if (Math.max(strength, before) > 1) draw();
    else if (shown) show();
    before = strength;
  };
  const drop = element("drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") open(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));
}

function addStyles() {
  for (const [n, { name, title, thumbnail }] of about.styles.entries()) {
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), {
      type: "radio", name: "style", value: n, id: `style-${name}`, checked: n === 0,
    });
    const image = Object.assign(document.createElement("img"), { src: thumbnail, alt: "", loading: "lazy" });
    label.append(radio, image, title);
    element("styles").append(label);
    element("other").append(new Option(title, n));
  }
}

// Isolated from other sites, the page may draw in several threads: it begins anew to be so.
async function isolate() {
  if (self.crossOriginIsolated || !navigator.serviceWorker) return;
  try {
    if (sessionStorage.getItem("isolated")) return;
    sessionStorage.setItem("isolated", "tried"); // once: it draws in one thread where this fails
    await navigator.serviceWorker.register("isolation.js");
    await navigator.serviceWorker.ready;
    location.reload();
    await new Promise(() => {}); // the page ends here
  } catch {
    // private windows may have no service workers, or no storage
  }
}

async function start() {
  await isolate();
  try {
    about = JSON.parse(new TextDecoder().decode(await bytes("page.json")));
    const [styles, runtime, network, noise] = await Promise.all(
      ["styles.bin", "runtime.bin", "network.onnx", "noise.bin"].map(bytes),
    );
    const all = new Float32Array(styles);
    const rows = all.length / about.length;
    vectors = Array.from({ length: rows }, (_, n) => all.slice(n * about.length, (n + 1) * about.length));
    addStyles();
    if (about.neutral) element("strength").max = 1.5;
    worker = new Worker("worker.js", { type: "module" });
    await asked({ load: { runtime, network, ...about.noise, noise } });
    connect();
    await open(new File([await bytes("sample.jpg")], "sample.jpg"));
  } catch (error) {
    say(`This page cannot start: ${error.message}`, true);
  }
}

start();
