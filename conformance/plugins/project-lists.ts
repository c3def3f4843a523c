/**
 * The networks that projects bring or write by default, put down in our own words from what they document, with the
 * addresses of the laboratory's node. Each is attached, used and taken away by `project-lists.test.ts`.
 */
import type { JsonObject } from "../../testbed/harness.ts";

export interface ProjectList {
  readonly project: string;
  readonly cniVersion: string;
  readonly plugins: readonly (JsonObject & { readonly type: string })[];
}

const subnet = "10.88.0.0/24";
const gateway = "10.88.0.1";
const routes = [{ dst: "0.0.0.0/0" }];

/** The bridge of most projects. */
const bridge = (name: string, more: JsonObject, ipam: JsonObject): JsonObject & { type: string } => ({
  ...{ type: "bridge", bridge: name, isGateway: true, ipMasq: true, ...more },
  ipam: { type: "host-local", ...ipam },
});

const portmap = { type: "portmap", capabilities: { portMappings: true } };

export const PROJECT_LISTS: readonly ProjectList[] = [
  {
    project: "nerdctl",
    cniVersion: "1.0.0",
    plugins: [
      bridge("nerdctl0", { hairpinMode: true }, { routes, ranges: [[{ gateway, subnet }]] }),
      portmap,
      { type: "firewall", ingressPolicy: "same-bridge" },
      { type: "tuning" },
    ],
  },
  {
    project: "Nomad",
    cniVersion: "1.0.0",
    plugins: [
      { type: "loopback" },
      bridge("nomad", { forceAddress: true, hairpinMode: false }, { routes, ranges: [[{ subnet }]] }),
      { type: "firewall", backend: "iptables", iptablesAdminChainName: "NOMAD-ADMIN" },
      { ...portmap, snat: true },
    ],
  },
  {
    project: "podman 4",
    cniVersion: "0.4.0",
    plugins: [
      bridge("cni-podman0", { hairpinMode: true }, { routes, ranges: [[{ gateway, subnet }]] }),
      portmap,
      { type: "firewall" },
      { type: "tuning" },
    ],
  },
  {
    project: "minikube",
    cniVersion: "0.4.0",
    plugins: [
      bridge("bridge", { addIf: "true", isDefaultGateway: true, forceAddress: false, hairpinMode: true }, { subnet }),
      portmap,
      { type: "firewall" },
    ],
  },
  {
    project: "BuildKit",
    cniVersion: "1.0.0",
    plugins: [
      { type: "loopback" },
      bridge("buildkit0", { isDefaultGateway: true, hairpinMode: true }, { ranges: [[{ subnet, gateway }]] }),
      { type: "firewall", ingressPolicy: "same-bridge" },
    ],
  },
  {
    project: "singularity",
    cniVersion: "1.0.0",
    plugins: [
      bridge("sbr0", { capabilities: { ipRanges: true } }, { subnet, routes }),
      { type: "firewall" },
      { ...portmap, snat: true },
    ],
  },
  {
    project: "kind",
    cniVersion: "0.3.1",
    plugins: [
      { type: "ptp", ipMasq: false, mtu: 1500, ipam: { type: "host-local", ranges: [[{ subnet }]], routes } },
      portmap,
    ],
  },
  {
    project: "firecracker",
    cniVersion: "0.4.0",
    plugins: [
      { type: "ptp", ipMasq: true, ipam: { type: "host-local", subnet, routes, resolvConf: "/etc/resolv.conf" } },
      { type: "firewall" },
    ],
  },
];
