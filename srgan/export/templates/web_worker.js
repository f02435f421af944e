"use strict";
// Upscale pictures in tiles, as srgan/inference/tiling.py and srgan/inference/upscaler.py do.
const LEAST_TILE = 192, MOST_TILE = 384; // pixels of a side: large ones compute fewer pixels twice, small ones show progress
const MARGIN = 24, RAMP = 16; // pixels that are cut and blended where a tile is too small for the receptive field
const MOST_SIDE = 16384, MOST_PIXELS = 268e6; // of a canvas
const LUMA = [0.299, 0.587, 0.114];
const QUALITY = 0.95;
let ort, session, contract;

// -- the model --

async function start({ script, binary, model, contract: given }) {
  contract = given;
  ort = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" }))); // made here: a file's worker may load no blob of its page
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.numThreads = 1; // threads need headers that a file does not have
  ort.env.logLevel = "error";
  const bytes = new Uint8Array(model);
  const plain = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const fast = await onGpu(bytes, plain);
  session = fast ?? plain;
  postMessage({ device: fast ? "the GPU (WebGPU)" : "the processor (WebAssembly)" });
}

// Return a session on the GPU, or null if there is none or it computes something else.
async function onGpu(bytes, plain) {
  if (!(await navigator.gpu?.requestAdapter().catch(() => null))) return null;
  try {
    const made = await ort.InferenceSession.create(bytes, { executionProviders: ["webgpu"] });
    const side = 24;
    const probe = Float32Array.from({ length: 3 * side * side }, (_, index) => ((index * 7919) % 256) / 255);
    const [one, other] = [await runOn(made, probe, side, side), await runOn(plain, probe, side, side)];
    return one.every((value, index) => Math.abs(value - other[index]) < 2e-3) ? made : null;
  } catch {
    return null;
  }
}

async function runOn(on, pixels, height, width) {
  const { output } = await on.run({ input: new ort.Tensor("float32", pixels, [1, 3, height, width]) });
  const result = await output.getData();
  output.dispose();
  return result;
}

// -- tiles --

const roundDown = (value, multiple) => Math.floor(value / multiple) * multiple || value;

// Return the side of the tiles: four times the receptive field or more, unless that takes too much memory.
function tileSide() {
  const affordable = Math.max(Math.floor(Math.sqrt(contract.mostPixels) / 32) * 32, 32);
  const wanted = Math.min(Math.max(LEAST_TILE, Math.ceil(contract.halo / 8) * 32), MOST_TILE);
  return roundDown(Math.min(wanted, affordable), contract.multipleOf);
}

function overlap(tile) {
  if (tile >= 4 * contract.halo) return [contract.halo, 0];
  return [Math.min(MARGIN, Math.floor(tile / 6)), Math.min(RAMP, Math.floor(tile / 6))];
}

// Return where the tiles of a row or column begin. The last one is moved inwards to keep the size.
function starts(length, tile, margin, ramp) {
  if (length <= tile) return [0];
  const step = roundDown(tile - 2 * margin - ramp, contract.multipleOf);
  const count = Math.ceil((length - tile) / step) + 1;
  return Array.from({ length: count }, (_, index) => Math.min(index * step, length - tile));
}

// Return the index of a pixel that may be beyond the end: the last one, or the mirrored one.
function inside(index, length) {
  if (index < length) return index;
  return contract.reflects ? Math.max(2 * (length - 1) - index, 0) : length - 1;
}

async function upscaled(image, grey) {
  const { width, height } = image, { scale, multipleOf } = contract;
  const result = new ImageData(width * scale, height * scale);
  const tile = tileSide();
  const whole = width * height <= tile * tile;
  const [margin, ramp] = overlap(tile);
  const [rows, columns] = [height, width].map((side) => (whole ? [0] : starts(Math.ceil(side / multipleOf) * multipleOf, tile, margin, ramp)));
  const padded = (side) => (whole ? side : Math.min(tile, Math.ceil(side / multipleOf) * multipleOf));
  const size = [padded(height), padded(width)];
  const total = rows.length * columns.length;
  let done = 0;
  postMessage({ done, total });
  for (const top of rows) {
    const former = top && ramp ? result.data.slice((top + margin) * scale * result.width * 4, (top + margin + ramp) * scale * result.width * 4) : null;
    for (const left of columns) {
      const pixels = await piece(image, top, left, ...size, grey);
      place(pixels, result, top, left, size[1], left ? margin : 0, top ? margin : 0, left ? ramp : 0);
      postMessage({ done: ++done, total });
    }
    if (former) fade(former, result, (top + margin) * scale, ramp * scale);
  }
  return result;
}

// Upscale a tile to three channels in 0..255, one after the other.
async function piece(image, top, left, height, width, grey) {
  const input = new Float32Array(3 * height * width), white = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (inside(top + y, image.height) * image.width + inside(left + x, image.width)), to = y * width + x;
      let colours = [image.data[at], image.data[at + 1], image.data[at + 2]];
      if (contract.takesGrey) colours = Array(3).fill((colours[0] * 4899 + colours[1] * 9617 + colours[2] * 1868 + 8192) >> 14);
      white[to] = colours[0] === 255 && colours[1] === 255 && colours[2] === 255 ? 1 : 0;
      for (let channel = 0; channel < 3; channel++) input[channel * height * width + to] = colours[channel] / 255;
    }
  }
  const output = await runOn(session, input, height, width);
  return finished(output, white, height, width, grey && !contract.addsColour);
}

// Round the output of the model. White paper stays white, and grey pictures stay grey.
function finished(output, white, height, width, grey) {
  const { scale } = contract, [tall, wide] = [height * scale, width * scale], area = tall * wide;
  const levels = new Uint8ClampedArray(output.length);
  for (let y = 0; y < tall; y++) {
    for (let x = 0; x < wide; x++) {
      const at = y * wide + x, values = [output[at], output[at + area], output[at + 2 * area]];
      if (!values.every(Number.isFinite)) throw new Error("the model's output is not finite (NaN or infinite)");
      const luma = grey ? values[0] * LUMA[0] + values[1] * LUMA[1] + values[2] * LUMA[2] : 0;
      const paper = surrounded(white, Math.floor(y / scale), Math.floor(x / scale), height, width);
      for (let channel = 0; channel < 3; channel++) levels[at + channel * area] = paper ? 255 : 255 * (grey ? luma : values[channel]);
    }
  }
  return levels;
}

// Return whether a pixel and its neighbours in the tile are white.
function surrounded(white, y, x, height, width) {
  if (!white[y * width + x]) return false;
  for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
    for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) if (!white[row * width + column]) return false;
  }
  return true;
}

const faded = (former, value, position, length) => Math.round(former + ((position + 0.5) / length) * (value - former));

// Write a tile without its margins. Its left columns fade in over the tile before.
function place(pixels, result, top, left, width, cutLeft, cutTop, ramp) {
  const { scale } = contract, wide = width * scale, area = pixels.length / 3;
  const [right, bottom] = [Math.min((left + width) * scale, result.width), Math.min(top * scale + area / wide, result.height)];
  for (let y = (top + cutTop) * scale; y < bottom; y++) {
    for (let x = (left + cutLeft) * scale; x < right; x++) {
      const from = (y - top * scale) * wide + x - left * scale, to = 4 * (y * result.width + x), position = x - (left + cutLeft) * scale;
      for (let channel = 0; channel < 3; channel++) {
        const value = pixels[from + channel * area];
        result.data[to + channel] = position < ramp * scale ? faded(result.data[to + channel], value, position, ramp * scale) : value;
      }
      result.data[to + 3] = 255;
    }
  }
}

// Fade the first rows of a row of tiles in over the row before.
function fade(former, result, top, rows) {
  const line = result.width * 4;
  for (let index = 0; index < former.length; index++) {
    const at = top * line + index;
    result.data[at] = faded(former[index], result.data[at], Math.floor(index / line), rows);
  }
}

// -- pictures --

async function decoded(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("this browser cannot read the file. It is damaged, or of a format that browsers do not show");
  }
  const { width, height } = bitmap, [wide, tall] = [width * contract.scale, height * contract.scale];
  if (Math.max(wide, tall) > MOST_SIDE || wide * tall > MOST_PIXELS) {
    throw new Error(`the result would have ${wide} by ${tall} pixels, more than a browser can hold. Use srgan upscale`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}

function isGrey({ data: pixels }) {
  for (let at = 0; at < pixels.length; at += 4) if (pixels[at] !== pixels[at + 1] || pixels[at] !== pixels[at + 2]) return false;
  return true;
}

async function work({ file, format }) {
  const image = await decoded(file);
  const result = await upscaled(image, isGrey(image));
  const canvas = new OffscreenCanvas(result.width, result.height);
  canvas.getContext("2d").putImageData(result, 0, 0);
  postMessage({ blob: await canvas.convertToBlob({ type: format, quality: QUALITY }), width: result.width, height: result.height });
}

let ready;
onmessage = async ({ data: message }) => {
  try {
    if (message.contract) ready = start(message);
    else {
      await ready;
      await work(message);
    }
  } catch (error) {
    postMessage({ error: String(error.message ?? error) });
  }
};
