/** Which suites run in which boot of each kernel. */
import type { Boot } from "./guest.ts";

export interface NamedBoot extends Boot {
  readonly name: string;
}

const plugins = (...names: string[]) => names.map((name) => `conformance/plugins/${name}.test.ts`);

export const boots: readonly NamedBoot[] = [
  {
    name: "usual",
    append: "",
    patience: 5,
    limitSeconds: 3600,
    suites: [
      ...plugins(
        "bridge-vlan",
        "bridge-traffic",
        "bridge-ipv6",
        "bridge-addresses",
        "bridge-failures",
        "bridge-parallel",
      ),
      ...plugins("bandwidth", "spoof-check", "masquerade-traffic", "masquerade-lifecycle"),
      ...plugins("portmap-truth", "portmap-transit", "portmap-conntrack", "portmap-flush", "portmap-localnet"),
      ...plugins("vxlan-overlay", "vxlan-overlay-filter", "vxlan-overlay-node", "host-local", "loopback"),
    ],
  },
];
