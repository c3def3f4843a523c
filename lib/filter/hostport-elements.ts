/** Published ports as elements of the sets of table "inet podwire", and back. Pure. */
import { type Address, formatAddress, parseAddress } from "../ip/address.ts";
import { textAt } from "../lists.ts";
import { isDigits } from "../text.ts";
import { type HostPort, type ListenerPort, onAllAddresses } from "./hostports.ts";
import type { FilterElement, FilterRecord } from "./record.ts";

/** What belongs to a pod's published ports besides the ports themselves. */
export interface CompanionOptions {
  /** The chain that has the network's conditions; "" for none. */
  readonly conditions: string;
  /** Whether the source is masqueraded where replies would not pass this host otherwise. */
  readonly snat: boolean;
  readonly masqAll: boolean;
  /** The link that leads to the pod, if its neighbours there are masqueraded too; "" if their replies pass this host. */
  readonly sameLink: string;
  /** The link that leads to the pod, where 127.0.0.1 gets there; "" if it does not. */
  readonly localnetLink: string;
  /** Ports that programs of the host listen on. */
  readonly listeners: readonly ListenerPort[];
}

const PROTOCOLS: readonly string[] = ["tcp", "udp", "sctp"];
const SEPARATOR = " . ";

/** The element that publishes a port. */
export function portElement(port: HostPort): FilterElement {
  const data = `${formatAddress(port.pod)} . ${port.containerPort}`;
  return { table: "inet", set: portSet(port), key: portKey(port), data };
}

/** The element that sends packets for a port to the chain with the network's conditions. */
export function conditionElement(port: HostPort, chain: string): FilterElement {
  const prefix = port.hostIp === null ? "" : "hostip_";
  const set = `${prefix}conditional${port.pod.family}`;
  return { table: "inet", set, key: portKey(port), data: chain === "" ? "" : `goto ${chain}` };
}

/** The element that says that a port is published for single addresses. Attachments share it. */
export function markElement(port: HostPort): FilterElement {
  return { table: "inet", set: `hostip_ports${port.pod.family}`, key: numberKey(port), data: "" };
}

/**
 * The element that would overlap with a port without having its key: for a port of one address the port for all addresses,
 * for a port for all addresses the mark that the port is published for single addresses.
 */
export function overlappingElement(port: HostPort): FilterElement {
  return port.hostIp === null ? markElement(port) : portElement(onAllAddresses(port));
}

/** The port that an element publishes; null for any other element. */
export function hostPortOf(element: FilterElement): HostPort | null {
  if (!isPortElement(element)) return null;
  const key = element.key.split(SEPARATOR);
  const data = element.data.split(SEPARATOR);
  const first = key.length - 2;
  const pod = parseAddress(textAt(data, 0));
  const hostIp = first === 1 ? parseAddress(textAt(key, 0)) : null;
  const protocol = textAt(key, first);
  const hostPort = portNumber(textAt(key, first + 1));
  const containerPort = portNumber(textAt(data, 1));
  if (pod === null || !PROTOCOLS.includes(protocol) || hostPort < 0 || containerPort < 0) return null;
  if (data.length !== 2 || (first === 1 ? hostIp?.family !== pod.family : first !== 0)) return null;
  const port: HostPort = { protocol, hostPort, hostIp, pod, containerPort };
  return portSet(port) === element.set ? port : null;
}

/** Set and key of the element that publishes a port: different for ports that could be published at the same time. */
export function portName(port: HostPort): string {
  return `${portSet(port)} ${portKey(port)}`;
}

/** The ports that are not among others. */
export function withoutPorts(ports: readonly HostPort[], others: readonly HostPort[]): HostPort[] {
  const names = new Set<string>();
  for (const port of others) names.add(portName(port));
  const rest: HostPort[] = [];
  for (const port of ports) if (!names.has(portName(port))) rest.push(port);
  return rest;
}

/** Whether an element is of the sets of published ports. */
export function isPortElement({ table, set }: FilterElement): boolean {
  return table === "inet" && (set.startsWith("hostports") || set.startsWith("hostip_hostports"));
}

/** The ports that elements publish. */
export function hostPortsIn(elements: readonly FilterElement[]): HostPort[] {
  const ports: HostPort[] = [];
  for (const element of elements) {
    const port = hostPortOf(element);
    if (port !== null) ports.push(port);
  }
  return ports;
}

/** All elements of a record, those of its ports first. */
export function elementsOf(record: FilterRecord): readonly FilterElement[] {
  if (record === lastRecord) return lastElements;
  const elements: FilterElement[] = [];
  for (const port of record.ports) elements.push(portElement(port));
  for (const element of record.elements) elements.push(element);
  lastRecord = record;
  lastElements = elements;
  return elements;
}

/* The record that was asked for last: a call changes the tables by it, and writes it. */
let lastRecord: FilterRecord | null = null;
let lastElements: readonly FilterElement[] = [];

/** Whether a record has elements. */
export function hasElements(record: FilterRecord): boolean {
  return record.ports.length > 0 || record.elements.length > 0;
}

/** The elements that belong to one pod's published ports besides theirs; all ports are of one IP version. */
export function companionElements(ports: readonly HostPort[], options: CompanionOptions): FilterElement[] {
  const elements: FilterElement[] = [];
  const known = new Set<string>();
  const add = (element: FilterElement): void => {
    const name = `${element.set} ${element.key}`;
    if (known.has(name)) return;
    known.add(name);
    elements.push(element);
  };
  const addPlain = (set: string, key: string): void => add({ table: "inet", set, key, data: "" });
  const general = new Set<string>();
  for (const port of ports) {
    const { family } = port.pod;
    const pod = formatAddress(port.pod);
    if (port.hostIp === null) general.add(`${family} ${numberKey(port)}`);
    else add(markElement(port));
    if (options.conditions !== "") add(conditionElement(port, options.conditions));
    if (options.masqAll) addPlain(`masq_all${family}`, `${pod} . ${port.protocol} . ${port.containerPort}`);
    if (!options.snat) continue;
    addPlain(`hairpin${family}`, `${pod} . ${pod}`);
    if (options.sameLink !== "") add(neighbourElement(port.pod, options.sameLink));
    if (options.localnetLink === "" || family === 6) continue;
    addPlain("localhost4", pod);
    addPlain("localnet_links", options.localnetLink);
  }
  for (const { protocol, hostPort, address } of options.listeners) {
    const number = `${protocol} . ${hostPort}`;
    if (!general.has(`${address.family} ${number}`)) continue;
    addPlain(`listeners${address.family}`, `${formatAddress(address)} . ${number}`);
  }
  return elements;
}

/** The element that has the pod's neighbours on a link masqueraded: its replies to them would not pass this host. */
export function neighbourElement(pod: Address, link: string): FilterElement {
  return { table: "inet", set: `same_link${pod.family}`, key: `${formatAddress(pod)} . ${link}`, data: "" };
}

/** Finds the elements that keep listeners' ports out of some published ports for all addresses. */
export class ListenerFinder {
  readonly #names = new Set<string>();

  constructor(ports: readonly HostPort[]) {
    for (const port of ports) {
      if (port.hostIp === null) this.#names.add(`listeners${port.pod.family} ${numberKey(port)}`);
    }
  }

  has(element: FilterElement): boolean {
    if (this.#names.size === 0 || !element.set.startsWith("listeners")) return false;
    const number = element.key.slice(element.key.indexOf(SEPARATOR) + SEPARATOR.length);
    return this.#names.has(`${element.set} ${number}`);
  }
}

/** Whether attachments share the elements of a set: they have no owner, and are removed with the last of them. */
export function isShared(set: string): boolean {
  return set === "localnet_links" || set.startsWith("hostip_ports");
}

/** What the names of the sets begin with that belong to published ports. */
const PORT_SETS = ["hostports", "hostip_", "conditional", "masq_all", "hairpin", "same_link", "localhost", "listeners"];

/** Whether a set belongs to published ports alone. */
export function isPortSet(table: string, set: string): boolean {
  return table === "inet" && PORT_SETS.some((start) => set.startsWith(start));
}

function portSet(port: HostPort): string {
  return `${port.hostIp === null ? "" : "hostip_"}hostports${port.pod.family}`;
}

function portKey(port: HostPort): string {
  const number = numberKey(port);
  return port.hostIp === null ? number : `${formatAddress(port.hostIp)} . ${number}`;
}

function numberKey(port: HostPort): string {
  return `${port.protocol} . ${port.hostPort}`;
}

/** A port number in decimal digits; -1 for anything else. */
function portNumber(text: string): number {
  if (!isDigits(text) || text.length > 5 || text.startsWith("0")) return -1;
  const number = parseInt(text, 10);
  return number <= 65535 ? number : -1;
}
