/** The plugins that faults are tried on, each with all it can do. An overlay's reconcile belongs here once it is built. */
import { BACKENDS } from "../plugins/portmap-lab.ts";
import type { Subject } from "./laboratory.ts";

const MEGABIT = 1e6;

function mappings(first: number) {
  return [
    { hostPort: first, containerPort: 80, protocol: "tcp" },
    { hostPort: first + 1, containerPort: 80, protocol: "udp" },
    { hostPort: first + 2, containerPort: 81, protocol: "tcp", hostIP: "192.0.2.1" },
  ];
}

export const BRIDGE: Subject = {
  name: "bridge",
  plugin: "bridge",
  bridge: { ipMasq: true, macspoofchk: true, ipSpoofCheck: true },
  chained: null,
  repeated: "fresh",
  linksGoLast: false,
};

export const PORTMAP: readonly Subject[] = BACKENDS.map((backend) => ({
  name: `portmap (${backend})`,
  plugin: "portmap",
  bridge: {},
  chained: (pod) => ({
    backend,
    capabilities: { portMappings: true },
    runtimeConfig: { portMappings: mappings(pod === "pod" ? 8080 : 8090) },
  }),
  repeated: "both",
  linksGoLast: false,
}));

export const BANDWIDTH: Subject = {
  name: "bandwidth",
  plugin: "bandwidth",
  bridge: {},
  chained: () => ({
    capabilities: { bandwidth: true },
    runtimeConfig: { bandwidth: { ingressRate: 10 * MEGABIT, egressRate: 20 * MEGABIT } },
  }),
  repeated: "same",
  linksGoLast: true,
};
