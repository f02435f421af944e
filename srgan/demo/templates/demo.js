// The server on this machine. It has one job at a time and keeps nothing: the page takes the result and deletes the job.
const POLL = 300; // milliseconds
const hasFrames = (name) => data.clips.some((suffix) => name.toLowerCase().endsWith(suffix));

class Server {
  constructor() {
    const select = find("#model");
    for (const { name } of data.models) select.append(made("option", { value: name, textContent: name }));
    select.addEventListener("change", () => this.describe());
    this.describe();
  }

  describe() {
    find("#about").textContent = data.models.find((model) => model.name === find("#model").value).about;
  }

  settings() {
    return { model: find("#model").value };
  }

  refuses(file) {
    if (file.size > data.bytes) return `${bytesText(file.size)}, at most ${bytesText(data.bytes)} are taken. srgan demo --megabytes raises the limit.`;
    if (hasFrames(file.name) && !data.decodes) return "clips need PyAV. Install it with: pip install 'srgan[video]'";
    return "";
  }

  async run(file, { model, format }, onProgress, signal) {
    const query = new URLSearchParams({ model, name: file.name, ...(format && { format }) });
    onProgress("is sent", null);
    // A cancel does not stop this request: only its answer tells which job to delete.
    const { id } = await (await this.ask(`/jobs?${query}`, { method: "POST", body: file })).json();
    const unit = hasFrames(file.name) ? "frame" : "tile";
    const forget = () => fetch(`/jobs/${id}`, { method: "DELETE", keepalive: true }).catch(() => {}); // also when this page is closed
    if (signal.aborted) forget();
    else signal.addEventListener("abort", forget);
    try {
      for (;;) {
        const state = await (await this.ask(`/jobs/${id}`, { signal })).json();
        if (state.state === "failed") throw new Error(state.error);
        if (state.state === "done") return await this.fetched(file, model, state, signal);
        if (state.ahead) onProgress(`waits for ${state.ahead} other`, null);
        else if (!state.tiles) onProgress("is read", null);
        else onProgress(`${unit} ${state.tiles_done} of ${state.tiles}`, state.tiles_done / state.tiles);
        await new Promise((resolve) => setTimeout(resolve, POLL));
      }
    } finally {
      if (!signal.aborted) forget();
    }
  }

  async fetched(file, model, { result, width, height, warnings }, signal) {
    const answer = await this.ask(result, { signal });
    const suffix = answer.headers.get("Content-Disposition").match(/\.\w+(?="?$)/)[0];
    const name = `${file.name.replace(/\.\w+$/, "")}-${model.replace(/\.\w+$/, "").replace(/[^\w.-]+/g, "-")}${suffix}`;
    return { blob: await answer.blob(), name, width, height, warnings };
  }

  // Return the answer of the server, whose errors are one sentence.
  async ask(address, options) {
    let answer;
    try {
      answer = await fetch(address, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new Error("the server does not answer. Start it again with: srgan demo");
    }
    if (!answer.ok) throw new Error((await answer.json()).detail);
    return answer;
  }
}

new UpscalePage(new Server());
