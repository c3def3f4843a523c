/** What the report and the README say of the overlay: tables, charts and a picture of the throughput. Pure. */
import { CHANGES, COLD, LOST, MANY_PEERS, NOTHING, type OverlayTime, POD, VERIFY } from "./overlay.ts";
import type { OverlayRate } from "./overlay-rates.ts";
import { type Chart, plot, type Series } from "./plot.ts";

/** What has been measured of the overlay. */
export interface OverlayNumbers {
  readonly overlay: readonly OverlayTime[];
  readonly overlayRates: readonly OverlayRate[];
}

const FLANNEL = "iproute2, as Flannel";
const METRICS = "iproute2, a metric each";
const WAYS = ["Podwire, classic", "Podwire, gpe", FLANNEL, METRICS];

function milliseconds(time: OverlayTime | undefined): string {
  if (time === undefined) return "";
  return `${time.ms.toFixed(time.ms < 10 ? 2 : time.ms < 100 ? 1 : 0)} ms`;
}

/** What a node of a cluster takes, and what it must not take. */
export function overlayTable({ overlay }: OverlayNumbers, peers = MANY_PEERS): string {
  const lines = [NOTHING, POD, CHANGES, COLD, LOST, VERIFY].map((what) => {
    const times = WAYS.map((way) =>
      overlay.find((time) => time.what === what && time.way === way && time.peers === peers),
    );
    const limits = new Set(times.flatMap((time) => (time?.limitMs == null ? [] : [`${time.limitMs} ms`])));
    return `| ${what} | ${[...times.slice(0, 2).map(milliseconds), [...limits].join(", "), ...times.slice(2).map(milliseconds)].join(" | ")} |`;
  });
  return [
    `| ${peers.toLocaleString("en")} nodes | ${WAYS.slice(0, 2).join(" | ")} | at most | ${WAYS.slice(2).join(" | ")} |`,
    "|---|---:|---:|---:|---:|---:|",
    ...lines,
  ].join("\n");
}

/** Throughput between pods on two nodes. */
export function overlayRatesTable({ overlayRates }: OverlayNumbers): string {
  const lines = overlayRates.map(({ way, gigabits, quartiles: [lower, upper], ratio }) => {
    const spread = `${lower.toFixed(2)} to ${upper.toFixed(2)}`;
    return `| ${way} | ${gigabits.toFixed(2)} Gbit/s | ${spread} | ${(ratio * 100).toFixed(1)} % |`;
  });
  return ["| | median | middle half of the rounds | of iproute2's |", "|---|---:|---:|---:|", ...lines].join("\n");
}

/** The part of RESULTS.md. */
export function overlaySection(numbers: OverlayNumbers): string {
  return `## An overlay of many nodes

![What it takes to keep a node up to date](overlay.svg)

${overlayTable(numbers)}

One node of a cluster, its packet filter included, in one process each time. A pod's ADD is that of the overlay as the only
plugin, which has bridge and host-local make the interface, on a node that is up to date. A cold start is the first call on a node: the
device, an entry, a neighbour and a route for each other node, and their addresses in a set of the packet filter. Of the 11
changes five are nodes that came, five that went, and one has another address. For "iproute2, as Flannel" \`ip\` and \`bridge\`
get the device, entries, neighbours and routes that Flannel makes, in two batches; Flannel itself makes them one by one as
it hears of the nodes. Its routes have no metric, and the kernel looks through all of them for each new one; with a metric
each, as Podwire's have, it does not.

## Throughput between nodes

![Throughput between pods on two nodes](overlay-rates.svg)

${overlayRatesTable(numbers)}

One TCP connection between pods on two nodes, ${numbers.overlayRates[0]?.rounds ?? 0} rounds of a second for each way, alternating (iperf3); the
last column is the median of the rounds' ratios. The pairs of nodes are alike but for what connects them; all masquerade
what leaves the cluster, so all track connections.`;
}

const STYLES: Readonly<Record<string, Series["style"]>> = {
  "Podwire, classic": "podwire",
  "Podwire, gpe": "iptables",
  [FLANNEL]: "nftables",
  [METRICS]: "none",
};

/** Times over the number of nodes: the cold start, and the calls after it. */
export function overlayPicture({ overlay }: OverlayNumbers): string {
  const xTicks = [...new Set(overlay.map(({ peers }) => peers))];
  const common = { xTicks, xLabel: "other nodes in the cluster", logarithmic: true };
  const points = (what: string, way: string) =>
    overlay.filter((time) => time.what === what && time.way === way).map(({ peers, ms }) => [peers, ms] as const);
  const afterwards: readonly (readonly [string, Series["style"]])[] = [
    [NOTHING, "podwire"],
    [CHANGES, "nftables"],
    [VERIFY, "iptables"],
  ];
  const charts: Chart[] = [
    {
      ...common,
      title: "cold start, milliseconds",
      series: WAYS.map((way) => ({ name: way, style: STYLES[way] ?? "none", points: points(COLD, way) })),
    },
    {
      ...common,
      title: "calls after that (classic), milliseconds",
      series: afterwards.map(([what, style]) => ({ name: what, style, points: points(what, "Podwire, classic") })),
    },
  ];
  return plot("What it takes to keep a node up to date", charts);
}

const BAR_LEFT = 150;
const BAR_WIDTH = 440;
const ROW_HEIGHT = 34;

/** A bar for each way, and a line over the middle half of its rounds. */
export function overlayRatesPicture({ overlayRates }: OverlayNumbers): string {
  const highest = Math.max(...overlayRates.map(({ quartiles }) => quartiles[1]));
  const x = (gigabits: number) => (BAR_LEFT + (gigabits / highest) * BAR_WIDTH).toFixed(1);
  const height = 48 + overlayRates.length * ROW_HEIGHT + 8;
  const bars = overlayRates.map(({ way, gigabits, quartiles: [lower, upper] }, index) => {
    const y = 48 + index * ROW_HEIGHT;
    const style = way.startsWith("Podwire") ? "podwire" : "other";
    return `  <text x="${BAR_LEFT - 10}" y="${y + 15}" text-anchor="end">${way}</text>
  <rect class="${style}" x="${BAR_LEFT}" y="${y}" width="${(Number(x(gigabits)) - BAR_LEFT).toFixed(1)}" height="20" rx="2"/>
  <path class="spread" d="M${x(lower)} ${y + 10}H${x(upper)}M${x(lower)} ${y + 5}v10M${x(upper)} ${y + 5}v10"/>
  <text class="value" x="${BAR_LEFT + BAR_WIDTH + 12}" y="${y + 15}">${gigabits.toFixed(2)} Gbit/s</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="720" height="${height}" viewBox="0 0 720 ${height}" role="img">
  <title>Throughput between pods on two nodes</title>
  <style>
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .head { font-weight: 600 } .value { fill: #57606a }
    .podwire { fill: #0a7f5a } .other { fill: #b6bec8 } .spread { stroke: #24292f; fill: none; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .value { fill: #9198a1 }
      .podwire { fill: #2ea97c } .other { fill: #57606a } .spread { stroke: #e6edf3 }
    }
  </style>
  <text class="head" x="${BAR_LEFT}" y="28">one TCP connection between pods on two nodes: median, middle half</text>
${bars.join("\n")}
</svg>
`;
}
