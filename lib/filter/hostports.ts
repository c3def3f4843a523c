/** Published ports as elements of the packet filter, and which of them get in each other's way. Pure. */

import { type Address, formatAddress, parseAddress } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import type { FilterElement } from "./record.ts";

/** One published port for one IP version. */
export interface HostPort {
  readonly protocol: string;
  readonly hostPort: number;
  /** The one address of the host; null for all of the pod's IP version. */
  readonly hostIp: Address | null;
  readonly pod: Address;
  readonly containerPort: number;
}

/** A port of one of the host's addresses that a program listens on: a port for all addresses leaves it out. */
export interface ListenerPort {
  readonly protocol: string;
  readonly hostPort: number;
  readonly address: Address;
}

/** What may be said of a pod's published ports beyond the ports themselves. */
export interface HostPortOptions {
  /** The chain that has the network's conditions; "" for none. */
  readonly conditions: string;
  /** Whether the source is masqueraded where the reply would not find its way otherwise. */
  readonly snat: boolean;
  readonly masqAll: boolean;
  /** The link that leads to the pod, if its neighbours there are masqueraded too; "" if their replies pass this host. */
  readonly sameLink: string;
  /** The link that leads to the pod, where 127.0.0.1 gets there; "" if it does not. */
  readonly localnetLink: string;
  /** What programs of the host keep. */
  readonly listeners: readonly ListenerPort[];
}

const HOSTPORT_SETS = ["hostports4", "hostports6", "hostip_hostports4", "hostip_hostports6"];

/** The elements of one pod's published ports; all of one IP version. */
export function hostPortElements(ports: readonly HostPort[], options: HostPortOptions): FilterElement[] {
  const elements: FilterElement[] = [];
  const known = new Set<string>();
  const add = (set: string, key: string, data: string): void => {
    const name = `${set} ${key}`;
    if (known.has(name)) return;
    known.add(name);
    elements.push({ table: "inet", set, key, data });
  };
  for (const port of ports) {
    const n = port.pod.family;
    const any = `${port.protocol} . ${port.hostPort}`;
    const one = port.hostIp === null ? any : `${formatAddress(port.hostIp)} . ${any}`;
    const pod = formatAddress(port.pod);
    const prefix = port.hostIp === null ? "" : "hostip_";
    if (port.hostIp !== null) add(`hostip_ports${n}`, any, "");
    if (options.conditions !== "") add(`${prefix}conditional${n}`, one, `goto ${options.conditions}`);
    add(`${prefix}hostports${n}`, one, `${pod} . ${port.containerPort}`);
    if (options.masqAll) add(`masq_all${n}`, `${pod} . ${port.protocol} . ${port.containerPort}`, "");
    if (!options.snat) continue;
    add(`hairpin${n}`, `${pod} . ${pod}`, "");
    if (options.sameLink !== "") add(`same_link${n}`, `${pod} . ${options.sameLink}`, "");
    if (options.localnetLink === "" || n === 6) continue;
    add("localhost4", pod, "");
    add("localnet_links", options.localnetLink, "");
  }
  for (const { protocol, hostPort, address } of options.listeners) {
    const n = address.family;
    if (!known.has(`hostports${n} ${protocol} . ${hostPort}`)) continue;
    add(`listeners${n}`, `${formatAddress(address)} . ${protocol} . ${hostPort}`, "");
  }
  return elements;
}

/** The published ports among a record's elements. */
export function hostPortsIn(elements: readonly FilterElement[]): HostPort[] {
  const ports: HostPort[] = [];
  for (const element of elements) {
    if (!isHostPort(element)) continue;
    const key = element.key.split(" . ");
    const data = element.data.split(" . ");
    const hostIp = key.length === 3 ? parseAddress(textAt(key, 0)) : null;
    const pod = parseAddress(textAt(data, 0));
    if (pod === null) continue;
    ports.push({
      protocol: textAt(key, key.length - 2),
      hostPort: parseInt(textAt(key, key.length - 1), 10),
      hostIp,
      pod,
      containerPort: parseInt(textAt(data, 1), 10),
    });
  }
  return ports;
}

/** Whether an element is a published port itself. */
export function isHostPort(element: FilterElement): boolean {
  return HOSTPORT_SETS.includes(element.set);
}

/** Whether an element leaves a program's port out of a published one. */
export function isListener(element: FilterElement): boolean {
  return element.set.startsWith("listeners");
}

/** Whether several attachments share an element: it names no owner and goes when the last of them has gone. */
export function isShared(set: string): boolean {
  return set === "localnet_links" || set.startsWith("hostip_ports");
}

/** What the names of the sets begin with that hold what belongs to published ports. */
const PORT_SETS = ["hostports", "hostip_", "conditional", "masq_all", "hairpin", "same_link", "localhost", "listeners"];

/** Whether a set holds what belongs to published ports, and nothing else. */
export function isPortSet(table: string, set: string): boolean {
  return table === "inet" && PORT_SETS.some((start) => set.startsWith(start));
}

/** "protocol . port" of a published port's key. */
export function portOf(element: FilterElement): string {
  const parts = element.key.split(" . ");
  return parts.slice(parts.length - 2).join(" . ");
}

/** The IP version, protocol and port of a published port, or of one that is left out of it. */
export function portName(element: FilterElement): string {
  return `${element.set.slice(-1)} ${portOf(element)}`;
}

/** A published port for people: "tcp/80 on 10.0.0.1". */
export function describeHostPort(element: FilterElement): string {
  const parts = element.key.split(" . ");
  const any = element.set.endsWith("6") ? "every IPv6 address" : "every IPv4 address";
  if (parts.length === 2) return `${parts[0]}/${parts[1]} on ${any}`;
  return `${parts[1]}/${parts[2]} on ${parts[0]}`;
}
