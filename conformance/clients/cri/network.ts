/** The network of the container runtime's suites, and what its pods ask for. */
import type { JsonObject } from "../../../testbed/harness.ts";
import type { Suite } from "../suites.ts";
import type { PodWish } from "./client.ts";

/** Addresses of both families, and what both suites have. */
export const NETWORK: JsonObject = {
  /* The latest version that containerd 1.6 takes; containerd 2 speaks the later one. */
  cniVersion: "1.0.0",
  cniVersions: ["1.0.0", "1.1.0"],
  name: "pods",
  plugins: [
    {
      type: "bridge",
      bridge: "cni0",
      isGateway: true,
      isDefaultGateway: true,
      hairpinMode: true,
      ipMasq: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.85.0.0/24" }], [{ subnet: "fd00:85::/64" }]] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
    { type: "bandwidth", capabilities: { bandwidth: true } },
  ],
};

/** The same as part of a cluster: pods keep their addresses towards other nodes, which the overlay has instead of ipMasq. */
const OVERLAY: JsonObject = {
  ...NETWORK,
  plugins: (NETWORK.plugins as JsonObject[]).flatMap((plugin) => {
    if (plugin.type !== "bridge") return [plugin];
    const overlay = {
      type: "vxlan-overlay",
      podCIDRs: ["10.85.0.0/24", "fd00:85::/64"],
      clusterCIDRs: ["10.85.0.0/16", "fd00:85::/48"],
      underlay: "underlay",
      peers: [{ nodeIP: "192.0.2.12", podCIDRs: ["10.85.1.0/24", "fd00:85:0:1::/64"] }],
    };
    return [{ ...plugin, ipMasq: false }, overlay];
  }),
};

/** The network that a suite is tried with: with all the plugins that it has. */
export function networkOf(suite: Suite): JsonObject {
  return suite.kind === "podwire" ? OVERLAY : NETWORK;
}

/** The node's addresses on the bridge. */
export const GATEWAYS: readonly string[] = ["10.85.0.1", "fd00:85::1"];

/** The port a pod's server listens on. */
export const SERVER_PORT = 8080;

/** A pod with its own port of the node and limits in both directions, as a kubelet asks for it. */
export function wish(number: number): PodWish {
  return {
    name: `pod-${number}`,
    ports: [{ protocol: "TCP", containerPort: SERVER_PORT, hostPort: hostPort(number) }],
    annotations: { "kubernetes.io/ingress-bandwidth": "100M", "kubernetes.io/egress-bandwidth": "50M" },
  };
}

/** The node's port that leads to a pod. */
export function hostPort(number: number): number {
  return 31000 + number;
}
