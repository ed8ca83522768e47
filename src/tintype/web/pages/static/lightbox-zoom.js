/** An image that is zoomed and moved: by wheel, pinch, drag, double click and buttons. */
import { fill, h } from "./dom.js";

/** How large an image can be drawn, against its fit; pixels that a swipe takes at least. */
const [MAX, SWIPE] = [12, 60];

/**
 * A view that shows one element at a time: `element`, `show`, `fit`, `actual`, `by`.
 * @param {(step: 1 | -1) => void} swiped with a finger, while the whole image is seen
 */
export function createZoom(swiped) {
  const element = h("div.zoom");
  /** Scale against the fit, and pixels that the middle is moved. */
  let [scale, x, y] = [1, 0, 0];
  /**
   * Fingers, or a mouse's button, that are down.
   * @type {Map<number, {x: number, y: number}>}
   */
  const down = new Map();
  let start = { x: 0, y: 0 };
  const img = () => element.querySelector("img");

  const draw = () => {
    const one = img();
    if (!one) return;
    const most = (/** @type {number} */ inner, /** @type {number} */ outer) => Math.max(0, (inner * scale - outer) / 2);
    const [wide, high] = [most(one.offsetWidth, element.clientWidth), most(one.offsetHeight, element.clientHeight)];
    [x, y] = [Math.min(wide, Math.max(-wide, x)), Math.min(high, Math.max(-high, y))];
    one.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    element.toggleAttribute("data-zoomed", scale > 1);
  };
  /**
   * Zoom so that what is at a point stays there.
   * @param {number} wanted
   * @param {{x: number, y: number}} [point] of the window; the middle where there is none
   */
  const to = (wanted, point) => {
    const next = Math.min(MAX, Math.max(1, wanted));
    const box = element.getBoundingClientRect();
    const [fromX, fromY] = point ? [point.x - box.x - box.width / 2, point.y - box.y - box.height / 2] : [0, 0];
    x += (fromX - x) * (1 - next / scale);
    y += (fromY - y) * (1 - next / scale);
    scale = next;
    draw();
  };
  const fit = () => to(1);
  /** @param {{x: number, y: number}} [point] */
  const actual = (point) => {
    const one = img();
    if (one) to(one.naturalWidth / one.offsetWidth, point);
  };
  const middle = () => {
    const points = [...down.values()];
    const sum = points.reduce((a, b) => ({ x: a.x + b.x, y: a.y + b.y }), { x: 0, y: 0 });
    const centre = { x: sum.x / points.length, y: sum.y / points.length };
    return {
      ...centre,
      apart: points.length > 1 ? Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y) : 0,
    };
  };
  /** @param {PointerEvent} event */
  const moved = (event) => {
    if (!down.has(event.pointerId)) return;
    const before = middle();
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const now = middle();
    if (scale > 1) [x, y] = [x + now.x - before.x, y + now.y - before.y];
    to(before.apart ? (scale * now.apart) / before.apart : scale, now);
  };
  /** @param {PointerEvent} event */
  const lifted = (event) => {
    if (!down.delete(event.pointerId) || down.size || event.type !== "pointerup") return;
    const [across, along] = [event.clientX - start.x, event.clientY - start.y];
    const swipe = event.pointerType !== "mouse" && scale === 1 && Math.abs(across) > Math.max(SWIPE, Math.abs(along));
    if (swipe) swiped(across < 0 ? 1 : -1);
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button || !(event.target instanceof HTMLImageElement || event.target === element)) return;
    if (!down.size) start = { x: event.clientX, y: event.clientY };
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", moved);
  for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) element.addEventListener(end, lifted);
  element.addEventListener("wheel", (event) => {
    if (!img()) return;
    event.preventDefault();
    to(scale * Math.exp(-event.deltaY / 400), { x: event.clientX, y: event.clientY });
  });
  element.addEventListener("dblclick", (event) => (scale > 1 ? fit() : actual({ x: event.clientX, y: event.clientY })));
  return {
    element,
    fit,
    actual,
    /** @param {number} factor */
    by: (factor) => to(scale * factor),
    /**
     * Show something else, as a whole.
     * @param {HTMLElement} shown
     */
    show(shown) {
      [scale, x, y] = [1, 0, 0];
      down.clear();
      element.removeAttribute("data-zoomed");
      fill(element, shown);
    },
  };
}
