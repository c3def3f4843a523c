/** Line charts as SVG, side by side, for light and dark pages. Pure. */

export interface Series {
  readonly name: string;
  /** A CSS class of `STYLE`. */
  readonly style: "podwire" | "nftables" | "iptables" | "none";
  /** Points in the order of x. One point is drawn as a horizontal line: it holds for every x. */
  readonly points: readonly (readonly [number, number])[];
}

export interface Chart {
  readonly title: string;
  /** Where the x axis has its ticks, ascending; it is logarithmic unless they begin at zero. */
  readonly xTicks: readonly number[];
  readonly xLabel: string;
  /** The y axis begins at zero and ends above the highest point; with `logarithmic` at powers of ten around the points. */
  readonly logarithmic: boolean;
  readonly series: readonly Series[];
}

const WIDTH = 400;
const HEIGHT = 300;
const MARGIN = { left: 62, right: 26, top: 40, bottom: 48 };
const LEGEND_HEIGHT = 30;

const STYLE = `
    text { font: 12px system-ui, sans-serif; fill: #24292f }
    .head { font-weight: 600; font-size: 13px } .axis { stroke: #8c959f } .grid { stroke: #d0d7de }
    polyline { fill: none; stroke: currentColor; stroke-width: 2.5 } .dashed { stroke-dasharray: 5 4 }
    circle { fill: currentColor }
    .podwire { color: #0a7f5a } .nftables { color: #b35900 } .iptables { color: #8250df } .none { color: #57606a }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .axis { stroke: #6e7681 } .grid { stroke: #30363d }
      .podwire { color: #2ea97c } .nftables { color: #f0883e } .iptables { color: #bc8cff } .none { color: #9198a1 }
    }`;

/** The charts in a row, with one legend below if all have the same series, else with one below each. */
export function plot(title: string, charts: readonly Chart[]): string {
  const width = charts.length * WIDTH;
  const names = charts.map(({ series }) => series.map(({ name }) => name).join());
  const shared = new Set(names).size === 1;
  const longest = Math.max(...charts.map(({ series }) => series.length));
  const height = HEIGHT + (shared ? 1 : Math.ceil(longest / 2)) * LEGEND_HEIGHT;
  const panels = charts.map(
    (chart, index) => `  <g transform="translate(${index * WIDTH} 0)">\n${panel(chart)}\n  </g>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
  <title>${title}</title>
  <style>${STYLE}
  </style>
${panels.join("\n")}
${shared ? legend(charts[0]?.series ?? [], 0, width) : charts.map(({ series }, index) => pairedLegend(series, index * WIDTH)).join("\n")}
</svg>
`;
}

function panel(chart: Chart): string {
  const plotWidth = WIDTH - MARGIN.left - MARGIN.right;
  const plotHeight = HEIGHT - MARGIN.top - MARGIN.bottom;
  const [first, last] = [chart.xTicks[0] ?? 1, chart.xTicks.at(-1) ?? 10];
  const along = (value: number) => (first === 0 ? value / last : Math.log(value / first) / Math.log(last / first));
  const x = (value: number) => MARGIN.left + along(value) * plotWidth;
  const ticks = yTicks(chart);
  const [low, high] = [ticks[0] ?? 0, ticks.at(-1) ?? 1];
  const share = (value: number) =>
    chart.logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  const y = (value: number) => MARGIN.top + (1 - share(value)) * plotHeight;
  const bottom = MARGIN.top + plotHeight;
  const right = MARGIN.left + plotWidth;
  return [
    `    <text class="head" x="${MARGIN.left}" y="22">${chart.title}</text>`,
    ...ticks.map(
      (
        tick,
      ) => `    <line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}"/>
    <text x="${MARGIN.left - 8}" y="${fixed(y(tick) + 4)}" text-anchor="end">${tick.toLocaleString("en")}</text>`,
    ),
    ...chart.xTicks.map(
      (
        tick,
      ) => `    <line class="axis" x1="${fixed(x(tick))}" x2="${fixed(x(tick))}" y1="${bottom}" y2="${bottom + 5}"/>
    <text x="${fixed(x(tick))}" y="${bottom + 19}" text-anchor="middle">${tick.toLocaleString("en")}</text>`,
    ),
    `    <line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`,
    `    <text x="${MARGIN.left + plotWidth / 2}" y="${bottom + 37}" text-anchor="middle">${chart.xLabel}</text>`,
    ...chart.series.map((series) => line(series, x, y, [first, last])),
  ].join("\n");
}

function line(
  { style, points }: Series,
  x: (value: number) => number,
  y: (value: number) => number,
  ends: readonly [number, number],
): string {
  const [only] = points;
  if (points.length === 1 && only !== undefined) {
    const height = fixed(y(only[1]));
    return `    <polyline class="${style} dashed" points="${fixed(x(ends[0]))},${height} ${fixed(x(ends[1]))},${height}"/>`;
  }
  const places = points.map(([at, value]) => [fixed(x(at)), fixed(y(value))] as const);
  return [
    `    <polyline class="${style}" points="${places.map((place) => place.join(",")).join(" ")}"/>`,
    ...places.map(([at, value]) => `    <circle class="${style}" cx="${at}" cy="${value}" r="3.5"/>`),
  ].join("\n");
}

/** At most seven round numbers that enclose all points. */
function yTicks({ series, logarithmic }: Chart): number[] {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value));
  const highest = Math.max(...values);
  if (logarithmic) {
    const from = Math.floor(Math.log10(Math.min(...values)));
    const to = Math.max(from + 1, Math.ceil(Math.log10(highest)));
    return Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  }
  const magnitude = 10 ** Math.floor(Math.log10(highest));
  const step = ([0.2, 0.5, 1, 2].find((part) => highest / (part * magnitude) <= 6) ?? 2) * magnitude;
  return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, index) => index * step);
}

/** Side by side, in one line. */
function legend(series: readonly Series[], left: number, width: number, line = 0): string {
  const space = (width - 40) / Math.max(1, series.length);
  const y = HEIGHT + 8 + line * LEGEND_HEIGHT;
  return series
    .map(({ name, style, points }, index) => {
      const x = left + 20 + index * space;
      const dashed = points.length === 1 ? " dashed" : "";
      return `  <polyline class="${style}${dashed}" points="${fixed(x)},${y} ${fixed(x + 24)},${y}"/>
  <text x="${fixed(x + 32)}" y="${y + 4}">${name}</text>`;
    })
    .join("\n");
}

/** Two in a line, below one chart. */
function pairedLegend(series: readonly Series[], left: number): string {
  const lines: string[] = [];
  for (let first = 0; first < series.length; first += 2) {
    const pair = series.slice(first, first + 2);
    lines.push(legend(pair, left, pair.length === 1 ? WIDTH / 2 + 20 : WIDTH, first / 2));
  }
  return lines.join("\n");
}

function fixed(value: number): string {
  return value.toFixed(1);
}
