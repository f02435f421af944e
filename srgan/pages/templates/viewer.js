"use strict";
const find = (selector) => document.querySelector(selector);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const MAX_ZOOM = 32;

// Pictures or clips that zoom and move together, each in an element `.pane`. The first one that has a size determines 100 %.
class Viewer {
  constructor(element, output) {
    this.element = element;
    this.output = output;
    this.panes = [...element.querySelectorAll(".pane")];
    this.pointers = new Map();
    this.reset();
    for (const pane of this.panes) this.listen(pane);
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => this.act(button.dataset.zoom));
    new ResizeObserver(() => this.move()).observe(element);
  }

  get media() {
    return [...this.element.querySelectorAll(".pane img, .pane video")];
  }

  // Small pictures begin with one pixel per pixel, which hides no difference. Large ones begin as a whole.
  reset() {
    this.x = this.y = 0.5; // centre of the panes, as a share of a pane at zoom 1
    this.zoom = Math.min(1, this.oneToOne());
    this.move();
  }

  // Return the zoom at which a pixel of the picture is a pixel of the page.
  oneToOne() {
    const pane = this.panes[0];
    const sizes = this.media.map((one) => [one.naturalWidth || one.videoWidth, one.naturalHeight || one.videoHeight]);
    const [width, height] = sizes.find((size) => size[0]) ?? [0, 0];
    if (!width || !pane.clientWidth) return 1;
    return 1 / Math.min(pane.clientWidth / width, pane.clientHeight / height);
  }

  move() {
    const room = 0.5 / this.zoom;
    this.x = room < 0.5 ? clamp(this.x, room, 1 - room) : 0.5;
    this.y = room < 0.5 ? clamp(this.y, room, 1 - room) : 0.5;
    const style = this.element.style;
    style.setProperty("--zoom", this.zoom);
    style.setProperty("--x", `${(0.5 - this.x * this.zoom) * 100}%`);
    style.setProperty("--y", `${(0.5 - this.y * this.zoom) * 100}%`);
    const scale = this.zoom / this.oneToOne();
    this.element.classList.toggle("crisp", scale >= 1.5);
    this.output.textContent = `${Math.round(100 * scale)} %`;
  }

  // Zoom around a point, given in shares of its pane.
  zoomTo(zoom, atX = 0.5, atY = 0.5) {
    const next = clamp(zoom, Math.min(1, this.oneToOne()), MAX_ZOOM);
    this.x += (atX - 0.5) * (1 / this.zoom - 1 / next);
    this.y += (atY - 0.5) * (1 / this.zoom - 1 / next);
    this.zoom = next;
    this.move();
  }

  act(name) {
    this.zoomTo({ in: this.zoom * 1.5, out: this.zoom / 1.5, fit: 1, one: this.oneToOne() }[name]);
  }

  listen(pane) {
    const share = (event) => {
      const box = pane.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    pane.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomTo(this.zoom * Math.exp(-clamp(event.deltaY, -150, 150) / 250), ...share(event));
    }, { passive: false });
    pane.addEventListener("dblclick", (event) => this.zoomTo(this.zoom * (event.shiftKey ? 0.5 : 2), ...share(event)));
    pane.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, share(event));
      pane.setPointerCapture(event.pointerId);
    });
    pane.addEventListener("pointermove", (event) => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = share(event);
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) { // pinch: the zoom follows the distance of the fingers
        const distance = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
        this.zoomTo((this.zoom * distance(now)) / Math.max(distance(before), 1e-3), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else {
        this.x += (before[0] - now[0]) / this.zoom;
        this.y += (before[1] - now[1]) / this.zoom;
        this.move();
      }
      this.pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) pane.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
  }
}

// The keys of the viewer.
const ZOOM_KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "one" };
