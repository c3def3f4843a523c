/** Which suites run in which boot of each kernel. */
import type { Architecture } from "./fetch.ts";
import type { Boot } from "./guest.ts";

export interface NamedBoot extends Boot {
  readonly name: string;
}

const plugins = (...names: string[]) => names.map((name) => `conformance/plugins/${name}.test.ts`);
const guest = (...names: string[]) => names.map((name) => `conformance/kernels/guest/${name}.test.ts`);

/** What rests most on the kernel. */
const CORE = [...guest("features"), ...plugins("bridge-vlan", "loopback")];

const SECOND = plugins("masquerade-traffic", "vxlan-overlay-filter", "host-local");
const THIRD = plugins("bandwidth", "firewall", "firewall-lifecycle", "spoof-check", "tuning", "tuning-lifecycle");

/** With PODWIRE_KERNEL_SUITES=all: an hour or two more. What measures rates or counts system calls stays at home. */
const REST = plugins(
  ...["bridge-addresses", "bridge-check", "bridge-del", "bridge-failures", "bridge-ipv6", "bridge-options"],
  ...["bridge-parallel", "bridge-traffic", "host-local-disk", "host-local-verbs", "masquerade-lifecycle"],
  ...["portmap-conflicts", "portmap-conntrack", "portmap-flush", "portmap-lifecycle", "portmap-localnet"],
  ...["portmap-neighbours", "portmap-options", "portmap-parallel", "portmap-transit", "portmap-truth"],
  ...[
    "vxlan-overlay",
    "vxlan-overlay-cluster",
    "vxlan-overlay-leftovers",
    "vxlan-overlay-node",
    "vxlan-overlay-options",
  ],
);

/** What somebody else loads on a node of Kubernetes. */
const NODE_MODULES = ["br_netfilter"];

const protocol = (...names: string[]) => names.map((name) => `conformance/protocol/${name}.test.ts`);

/** Where another architecture may differ: system calls, layouts of structures, sizes of pages. An hour and more. */
const OTHER_ARCHITECTURE = [
  ...plugins("loopback", "host-local", "host-local-verbs", "bridge-addresses", "bridge-del"),
  ...protocol("requests", "signals", "namespaces"),
  ...plugins("portmap-lifecycle", "vxlan-overlay", "bandwidth"),
];

const usual = { append: "", modules: [], patience: 5 };

const amd64: readonly NamedBoot[] = [
  { ...usual, name: "usual", limitSeconds: 1500, suites: CORE },
  { ...usual, name: "plugins", modules: NODE_MODULES, limitSeconds: 2400, suites: SECOND },
  { ...usual, name: "more-plugins", modules: NODE_MODULES, limitSeconds: 2400, suites: THIRD },
  ...(process.env.PODWIRE_KERNEL_SUITES === "all"
    ? [{ ...usual, name: "rest", modules: NODE_MODULES, limitSeconds: 7200, suites: REST }]
    : []),
  { ...usual, name: "no-ipv6", append: "ipv6.disable=1", limitSeconds: 1200, suites: guest("no-ipv6") },
  { ...usual, name: "missing-modules", limitSeconds: 1500, suites: guest("missing-modules") },
];

const arm64: readonly NamedBoot[] = [
  { ...usual, name: "usual", patience: 20, limitSeconds: 7200, suites: OTHER_ARCHITECTURE },
];

export const boots: Readonly<Record<Architecture, readonly NamedBoot[]>> = { amd64, arm64 };
