/** Which suites run in which boot of each kernel. */
import type { Boot } from "./guest.ts";

export interface NamedBoot extends Boot {
  readonly name: string;
}

const plugins = (...names: string[]) => names.map((name) => `conformance/plugins/${name}.test.ts`);
const guest = (...names: string[]) => names.map((name) => `conformance/kernels/guest/${name}.test.ts`);

/** What rests most on the kernel. */
const CORE = [...guest("features"), ...plugins("bridge-vlan", "loopback")];

const SECOND = plugins("masquerade-traffic", "vxlan-overlay-filter", "host-local");

/** With PODWIRE_KERNEL_SUITES=all: an hour or two more. What measures rates or counts system calls stays at home. */
const MORE = plugins(
  ...[
    "bandwidth",
    "bridge-addresses",
    "bridge-check",
    "bridge-del",
    "bridge-failures",
    "bridge-ipv6",
    "bridge-options",
  ],
  ...[
    "bridge-parallel",
    "bridge-traffic",
    "host-local-disk",
    "host-local-verbs",
    "masquerade-lifecycle",
    "portmap-conflicts",
  ],
  ...["portmap-conntrack", "portmap-flush", "portmap-lifecycle", "portmap-localnet", "portmap-neighbours"],
  ...["portmap-options", "portmap-parallel", "portmap-transit", "portmap-truth", "spoof-check", "vxlan-overlay"],
  ...["vxlan-overlay-cluster", "vxlan-overlay-leftovers", "vxlan-overlay-node", "vxlan-overlay-options"],
);

const all = process.env.PODWIRE_KERNEL_SUITES === "all";

export const boots: readonly NamedBoot[] = [
  { name: "usual", append: "", modules: [], patience: 5, limitSeconds: 1500, suites: CORE },
  {
    name: "plugins",
    append: "",
    modules: ["br_netfilter"],
    patience: 5,
    limitSeconds: all ? 7200 : 2400,
    suites: [...SECOND, ...(all ? MORE : [])],
  },
  { name: "no-ipv6", append: "ipv6.disable=1", modules: [], patience: 5, limitSeconds: 1200, suites: guest("no-ipv6") },
  {
    name: "missing-modules",
    append: "",
    modules: [],
    patience: 5,
    limitSeconds: 1500,
    suites: guest("missing-modules"),
  },
];
