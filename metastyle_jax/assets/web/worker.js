// Draws pictures, beside the page so that it answers meanwhile.
//
// In: {load: {runtime, network, noise, side, scale}}, then {width, height, pixels (RGBA), style,
// deviation}. Out: {}, {pixels, seconds}, or {error}.
import * as ort from "./ort.wasm.min.mjs";

let session, noise, side;

async function load({ runtime, network, noise: levels, side: noiseSide, scale }) {
  // several threads need a page that is isolated from others by headers of its server
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmBinary = runtime;
  session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
  noise = Float32Array.from(new Int16Array(levels), (level) => level * scale);
  side = noiseSide;
}

// RGBA bytes to (1, 3, height, width) in [0, 1], with the input noise, as `stylize` adds it.
function asInput(pixels, width, height, deviation) {
  const area = width * height;
  const input = new Float32Array(3 * area);
  for (let row = 0, at = 0; row < height; row++) {
    const line = (row % side) * side;
    for (let column = 0; column < width; column++, at++) {
      const added = deviation * noise[line + (column % side)];
      for (let color = 0; color < 3; color++) {
        const value = pixels[4 * at + color] / 255 + added;
        input[color * area + at] = Math.min(1, Math.max(0, value));
      }
    }
  }
  return new ort.Tensor("float32", input, [1, 3, height, width]);
}

function asPixels(values, width, height) {
  const area = width * height;
  const pixels = new Uint8ClampedArray(4 * area); // rounds and clips
  for (let at = 0; at < area; at++) {
    for (let color = 0; color < 3; color++) pixels[4 * at + color] = 255 * values[color * area + at];
    pixels[4 * at + 3] = 255;
  }
  return pixels;
}

async function draw({ width, height, pixels, style, deviation }) {
  const begin = performance.now();
  const images = asInput(pixels, width, height, deviation);
  const feeds = { images, style: new ort.Tensor("float32", style, [1, style.length]) };
  const { stylized } = await session.run(feeds);
  const drawn = asPixels(stylized.data, width, height);
  stylized.dispose();
  const seconds = (performance.now() - begin) / 1000;
  self.postMessage({ pixels: drawn, seconds }, [drawn.buffer]);
}

self.onmessage = async ({ data }) => {
  try {
    if (data.load) {
      await load(data.load);
      self.postMessage({});
    } else {
      await draw(data);
    }
  } catch (error) {
    self.postMessage({ error: String(error?.message ?? error) });
  }
};
