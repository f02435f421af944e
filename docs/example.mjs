// Upscale, restore or colorize an image with onnxruntime-web, in Node or a browser: npm install onnxruntime-web
import * as ort from "onnxruntime-web";

/**
 * @param {string | ArrayBuffer | Uint8Array} model - the .onnx file or its address
 * @param {{ data: Uint8ClampedArray, width: number, height: number }} image - RGBA, for example from getImageData of a canvas
 * @param {boolean} [gray] - use the luma of the image alone. A model that colorizes needs it (the entry sr.color_out of its metadata)
 * @returns the result as opaque RGBA
 */
export async function upscale(model, { data, width, height }, gray = false) {
  const session = await ort.InferenceSession.create(model);
  const pixels = width * height;
  const luma = (i) => Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]); // BT.601
  const input = new Float32Array(3 * pixels); // planes of red, green and blue in 0..1
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++) input[c * pixels + i] = (gray ? luma(4 * i) : data[4 * i + c]) / 255;
  }
  const { output } = await session.run({ input: new ort.Tensor("float32", input, [1, 3, height, width]) });
  const [, , newHeight, newWidth] = output.dims;
  const newPixels = newWidth * newHeight;
  const result = new Uint8ClampedArray(4 * newPixels).fill(255); // clamps and rounds
  for (let i = 0; i < newPixels; i++) {
    for (let c = 0; c < 3; c++) result[4 * i + c] = output.data[c * newPixels + i] * 255;
  }
  return { data: result, width: newWidth, height: newHeight };
}
