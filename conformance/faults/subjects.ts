/** The plugins that faults are tried on, each with all it can do. */
import type { Backend } from "../plugins/portmap-lab.ts";
import type { Subject, Verb } from "./laboratory.ts";
import { OverlayLaboratory, type OverlaySubject } from "./overlay-laboratory.ts";
import { PodLaboratory, type PodSubject } from "./pod-laboratory.ts";

const MEGABIT = 1e6;
const ALL_VERBS: readonly Verb[] = ["ADD", "DEL", "GC", "CHECK"];

/** On a node that other pods are on, and on one that nobody is on: there only ADD is another one. */
function pod(name: string, subject: Omit<PodSubject, "cold">, cold = false): Subject {
  return {
    name: cold ? `${name}, cold node` : name,
    verbs: cold ? ["ADD"] : ALL_VERBS,
    create: () => PodLaboratory.create({ ...subject, cold }),
  };
}

/** bridge with all its protections, and addresses of both families from host-local in the same process. */
function bridge(backend: Backend): Omit<PodSubject, "cold"> {
  return {
    plugin: "bridge",
    main: "bridge",
    bridge: { ipMasq: true, ipMasqBackend: backend, macspoofchk: true, ipSpoofCheck: true },
    chained: null,
    repeated: "fresh",
    linksGoLast: false,
  };
}

/** ptp with all its protections, likewise. */
function ptp(backend: Backend): Omit<PodSubject, "cold"> {
  return {
    plugin: "ptp",
    main: "ptp",
    bridge: { ipMasq: true, ipMasqBackend: backend, ipSpoofCheck: true },
    chained: null,
    repeated: "fresh",
    linksGoLast: false,
  };
}

function portmap(backend: Backend): Omit<PodSubject, "cold"> {
  return {
    plugin: "portmap",
    main: "bridge",
    bridge: {},
    chained: (which) => ({
      backend,
      capabilities: { portMappings: true },
      runtimeConfig: { portMappings: mappings(which === "pod" ? 8080 : 8090) },
    }),
    repeated: "both",
    linksGoLast: false,
  };
}

function mappings(first: number) {
  return [
    { hostPort: first, containerPort: 80, protocol: "tcp" },
    { hostPort: first + 1, containerPort: 80, protocol: "udp" },
    { hostPort: first + 2, containerPort: 81, protocol: "tcp", hostIP: "192.0.2.1" },
  ];
}

const LIMITS: Omit<PodSubject, "cold"> = {
  plugin: "bandwidth",
  main: "bridge",
  bridge: {},
  chained: () => ({
    capabilities: { bandwidth: true },
    runtimeConfig: { bandwidth: { ingressRate: 10 * MEGABIT, egressRate: 20 * MEGABIT } },
  }),
  repeated: "same",
  linksGoLast: true,
};

/** Pods that are kept apart: what firewall lets through, and what it drops. */
const SEPARATED: Omit<PodSubject, "cold"> = {
  plugin: "firewall",
  main: "bridge",
  bridge: {},
  chained: () => ({ ingressPolicy: "isolated" }),
  repeated: "both",
  linksGoLast: false,
};

const TUNED: Omit<PodSubject, "cold"> = {
  plugin: "tuning",
  main: "bridge",
  bridge: {},
  chained: () => ({
    sysctl: { "net.ipv4.conf.IFNAME.arp_announce": "2", "net.ipv6.conf.IFNAME.ndisc_notify": "0" },
    ...{ mac: "02:00:00:00:0a:0b", mtu: 1400, txQLen: 77, promisc: true, allmulti: true },
  }),
  repeated: "same",
  linksGoLast: false,
  tunes: true,
};

function withBoth(
  name: string,
  subject: (backend: Backend) => Omit<PodSubject, "cold">,
  cold = false,
): Record<Backend, Subject> {
  const of = (backend: Backend): Subject => pod(`${name} (${backend})`, subject(backend), cold);
  return { nftables: of("nftables"), iptables: of("iptables") };
}

export const BRIDGE = withBoth("bridge", bridge);
export const PORTMAP = withBoth("portmap", portmap);
export const PTP = withBoth("ptp", ptp);
export const COLD_PTP = withBoth("ptp", ptp, true);
export const BANDWIDTH = pod("bandwidth", LIMITS);
export const FIREWALL = pod("firewall", SEPARATED);
export const COLD_FIREWALL = pod("firewall", SEPARATED, true);
export const TUNING = pod("tuning", TUNED);
export const COLD_BRIDGE = withBoth("bridge", bridge, true);
export const COLD_PORTMAP = withBoth("portmap", portmap, true);

/** The list of peers changes before each call. */
export function overlay(subject: OverlaySubject): Subject {
  const { datapath, delegate, cold } = subject;
  const name = `vxlan-overlay (${datapath}${delegate ? ", alone" : ""})`;
  return {
    name: cold ? `${name}, cold node` : name,
    verbs: cold ? ["ADD"] : ALL_VERBS,
    create: () => OverlayLaboratory.create(subject),
  };
}
