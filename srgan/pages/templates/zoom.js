"use strict";
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const MAX_ZOOM = 32;

// Pictures that zoom and move together, each in a pane of an element. A subclass returns the zoom at which a pixel of the picture is a
// pixel of the page (`oneToOne`).
class Zoomable {
  zoom = 1;
  x = 0.5; // centre of the panes, as a share of a pane at zoom 1
  y = 0.5;
  pointers = new Map();

  constructor(element, output) {
    this.element = element;
    this.output = output;
    this.panes = [...element.querySelectorAll(".pane")];
  }

  get leastZoom() {
    return 1;
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
    this.element.classList.toggle("zoomed", this.zoom > 1);
    this.element.classList.toggle("crisp", scale >= 1.5);
    this.output.textContent = `${Math.round(100 * scale)} %`;
  }

  // Zoom around a point, given in shares of its pane.
  zoomTo(zoom, atX = 0.5, atY = 0.5) {
    const next = clamp(zoom, this.leastZoom, MAX_ZOOM);
    this.x += (atX - 0.5) * (1 / this.zoom - 1 / next);
    this.y += (atY - 0.5) * (1 / this.zoom - 1 / next);
    this.zoom = next;
    this.move();
  }

  pan(right, down) {
    this.x += right / this.zoom;
    this.y += down / this.zoom;
    this.move();
  }

  act(name) {
    this.zoomTo({ in: this.zoom * 1.5, out: this.zoom / 1.5, fit: 1, one: this.oneToOne() }[name]);
  }

  // Follow the pointers on a pane: one moves the pictures, two zoom them, and so does the wheel, with or without Ctrl.
  follow(pane, wheelNeedsCtrl) {
    const share = (event) => {
      const box = pane.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    pane.addEventListener("wheel", (event) => {
      if (wheelNeedsCtrl && !event.ctrlKey) return;
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
        this.pan(before[0] - now[0], before[1] - now[1]);
      }
      this.pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) pane.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
  }
}

// The keys of the zoom.
const ZOOM_KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "one" };
