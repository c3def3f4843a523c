/**
 * The objects a plan is made of. A plan is data: what should exist for one attachment, in the order in which it has to come
 * into being. A plugin only describes; the engine (apply.ts, compare.ts) does the rest with each object's kind.
 */
import type { Kind } from "./kind.ts";
import { AddressKind, type AddressObject } from "./kinds/address.ts";
import { AnnouncementKind, type AnnouncementObject } from "./kinds/announcement.ts";
import { ArpNotifyKind, type ArpNotifyObject } from "./kinds/arp-notify.ts";
import { BridgeKind, type BridgeObject } from "./kinds/bridge.ts";
import { CarrierKind, type CarrierObject } from "./kinds/carrier.ts";
import { FilterKind, type FilterObject } from "./kinds/filter.ts";
import { FlowsKind, type FlowsObject } from "./kinds/flows.ts";
import { ForgottenNeighbourKind, type ForgottenNeighbourObject } from "./kinds/forgotten-neighbour.ts";
import { FormerValuesKind, type FormerValuesObject } from "./kinds/former-values.ts";
import { ForwardingKind, type ForwardingObject } from "./kinds/forwarding.ts";
import { FreeMacKind, type FreeMacObject } from "./kinds/free-mac.ts";
import { GatewaysKind, type GatewaysObject } from "./kinds/gateways.ts";
import { GuardKind, type GuardObject } from "./kinds/guard.ts";
import { HairpinKind, type HairpinObject } from "./kinds/hairpin.ts";
import { IfbKind, type IfbObject } from "./kinds/ifb.ts";
import { IngressPolicyKind, type IngressPolicyObject } from "./kinds/ingress-policy.ts";
import { LinkAttributesKind, type LinkAttributesObject } from "./kinds/link-attributes.ts";
import { LinkUpKind, type LinkUpObject } from "./kinds/link-up.ts";
import { LocalnetKind, type LocalnetObject } from "./kinds/localnet.ts";
import { PodRouteKind, type PodRouteObject } from "./kinds/pod-route.ts";
import { PortKind, type PortObject } from "./kinds/port.ts";
import { RedirectKind, type RedirectObject } from "./kinds/redirect.ts";
import { RequiredSysctlKind, type RequiredSysctlObject } from "./kinds/required-sysctl.ts";
import { RouteKind, type RouteObject } from "./kinds/route.ts";
import { ShaperKind, type ShaperObject } from "./kinds/shaper.ts";
import { SysctlKind, type SysctlObject } from "./kinds/sysctl.ts";
import { VethKind, type VethObject } from "./kinds/veth.ts";
import { VlanGatewayKind, type VlanGatewayObject } from "./kinds/vlan-gateway.ts";

export type KernelObject =
  | AddressObject
  | AnnouncementObject
  | ArpNotifyObject
  | BridgeObject
  | CarrierObject
  | FilterObject
  | FlowsObject
  | ForgottenNeighbourObject
  | FormerValuesObject
  | ForwardingObject
  | FreeMacObject
  | GatewaysObject
  | GuardObject
  | HairpinObject
  | IfbObject
  | IngressPolicyObject
  | LinkAttributesObject
  | LinkUpObject
  | LocalnetObject
  | PodRouteObject
  | PortObject
  | RedirectObject
  | RequiredSysctlObject
  | RouteObject
  | ShaperObject
  | SysctlObject
  | VethObject
  | VlanGatewayObject;

/** The object with its kind. The compiler asks for every kind here. */
export function kindOf(object: KernelObject): Kind {
  switch (object.kind) {
    case "address":
      return new AddressKind(object);
    case "announcement":
      return new AnnouncementKind(object);
    case "arp-notify":
      return new ArpNotifyKind(object);
    case "bridge":
      return new BridgeKind(object);
    case "carrier":
      return new CarrierKind(object);
    case "filter":
      return new FilterKind(object);
    case "flows":
      return new FlowsKind(object);
    case "forgotten-neighbour":
      return new ForgottenNeighbourKind(object);
    case "former-values":
      return new FormerValuesKind(object);
    case "forwarding":
      return new ForwardingKind(object);
    case "free-mac":
      return new FreeMacKind(object);
    case "gateways":
      return new GatewaysKind(object);
    case "guard":
      return new GuardKind();
    case "hairpin":
      return new HairpinKind(object);
    case "ifb":
      return new IfbKind(object);
    case "ingress-policy":
      return new IngressPolicyKind(object);
    case "link-attributes":
      return new LinkAttributesKind(object);
    case "up":
      return new LinkUpKind(object);
    case "localnet":
      return new LocalnetKind(object);
    case "pod-route":
      return new PodRouteKind(object);
    case "port":
      return new PortKind(object);
    case "redirect":
      return new RedirectKind(object);
    case "required-sysctl":
      return new RequiredSysctlKind(object);
    case "route":
      return new RouteKind(object);
    case "shaper":
      return new ShaperKind(object);
    case "sysctl":
      return new SysctlKind(object);
    case "veth":
      return new VethKind(object);
    case "vlan-gateway":
      return new VlanGatewayKind(object);
  }
}
