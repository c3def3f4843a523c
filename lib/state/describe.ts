/** A plan's objects in words, for messages: "add address 10.1.0.5/16 to eth0". */
import { formatAddress, formatPrefix } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import { describeRoute } from "./kinds/container.ts";
import type { KernelObject } from "./objects.ts";

/** What making the object means, as a phrase that follows "cannot". */
export function describe(object: KernelObject): string {
  switch (object.kind) {
    case "bridge":
      return `make bridge ${object.name}`;
    case "veth":
      return `make veth pair ${object.name} with ${object.containerName} in the container`;
    case "free-mac":
      return `see whether MAC ${formatMac(object.mac)} is free on ${object.bridge}`;
    case "port":
      return `set up bridge port ${object.name}`;
    case "vlan-gateway":
      return `make ${object.name}, the gateway of VLAN ${object.vlan}`;
    case "sysctl":
      return `set ${object.path.join(".")} to ${object.value}`;
    case "up":
      return `bring ${object.name} up`;
    case "arp-notify":
      return `set net.ipv4.conf.${object.link}.arp_notify`;
    case "address":
      return `add address ${formatPrefix(object.address)} to ${object.link}`;
    case "route":
      return `add route ${describeRoute(object.route)} through ${object.link}`;
    case "gateways":
      return `give ${object.link} the gateway's address`;
    case "forwarding":
      return `turn IPv${object.family} forwarding on`;
    case "forgotten-neighbour":
      return `forget the neighbour ${formatAddress(object.address)} on ${object.link}`;
    case "filter":
      return `put ${object.record.owner.ifname} into the packet filter`;
    case "guard":
      return "make the packet filter's rules for pods' links";
    case "localnet":
      return `set net.ipv4.conf.${object.link}.route_localnet`;
    case "hairpin":
      return `turn hairpin mode of ${object.port} on`;
    case "flows":
      return "forget connections to the published ports";
    case "shaper":
      return `limit what leaves by ${object.link}`;
    case "ifb":
      return `make ifb link ${object.name}`;
    case "redirect":
      return `send packets of ${object.link} through ${object.ifb}`;
    case "announcement":
      return `announce the addresses of ${object.containerLink}`;
  }
}
