// This browser. A worker runs the model; when its work is cancelled, the worker is ended and the next picture gets a new one.
const SHOWN = /\.(png|apng|jpe?g|jfif|webp|gif|bmp|avif)$/i;
const SUFFIXES = { "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp" };

// Return the content of an element: gzip in base64.
async function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

function address(content) {
  return URL.createObjectURL(new Blob([content], { type: "text/javascript" }));
}

class Browser {
  constructor() {
    this.parts = Promise.all(["model", "binary", "script"].map(unpacked)).then(([model, binary, script]) => ({ model, binary, script }));
    this.code = address(document.getElementById("worker").textContent);
  }

  settings() {
    return {};
  }

  refuses(file) {
    return file.type.startsWith("video/") || !(file.type.startsWith("image/") || SHOWN.test(file.name)) ? "is no picture" : "";
  }

  async started() {
    const parts = await this.parts;
    this.worker = new Worker(this.code);
    this.worker.postMessage({ ...parts, contract: data });
  }

  async run(file, { format }, onProgress, signal) {
    onProgress("loads the model", null);
    if (!this.worker) await this.started();
    const worker = this.worker;
    return new Promise((resolve, reject) => {
      const fail = (message) => {
        worker.terminate();
        this.worker = null;
        reject(new Error(message));
      };
      signal.addEventListener("abort", () => fail("cancelled"));
      if (signal.aborted) fail("cancelled");
      worker.onerror = (event) => fail(event.message || "the worker does not start");
      worker.onmessage = ({ data: { device, done, total, error, blob, width, height } }) => {
        if (device) find("#about").textContent = `computes on ${device}`;
        else if (error) reject(new Error(error));
        else if (blob) resolve({ blob, width, height, warnings: [], name: `${file.name.replace(/\.\w+$/, "")}-${data.name}${SUFFIXES[blob.type]}` });
        else onProgress(`tile ${done} of ${total}`, done / total);
      };
      worker.postMessage({ file, format });
    });
  }
}
