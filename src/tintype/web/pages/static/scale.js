/** Axes of plots. */

/** A range around `low` and `high` with a round step, of `least` or more, of which there are about three in it. */
export function scaled(low, high, least) {
  const rough = Math.max(least, (high - low) / 3, Math.abs(high) * 1e-6);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power);
  const floor = Math.floor(low / step + 1e-9) * step;
  return { step, low: floor, high: Math.max(Math.ceil(high / step - 1e-9) * step, floor + step) };
}

/** Where the axis has its figures. */
export const ticks = ({ step, low, high }) =>
  [...Array(Math.round((high - low) / step) + 1).keys()].map((number) => low + number * step);
