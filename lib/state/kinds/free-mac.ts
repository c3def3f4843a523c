/** An Ethernet address that somebody asks for: nobody else on the bridge may have it, since then it gets the other's packets. */
import { CniError, CONFLICT } from "../../errors.ts";
import { formatMac } from "../../ip/mac.ts";
import type { Link } from "../../netlink/link.ts";
import { listForwarding, listStations, type Station } from "../../netlink/stations.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { attachmentNames, OWNER_MARK } from "../names.ts";

/** Nobody on the bridge but this attachment has an Ethernet address that was asked for. Behind the pair and before its port. */
export interface FreeMacObject {
  readonly kind: "free-mac";
  readonly mac: Uint8Array;
  readonly bridge: string;
  readonly port: string;
}

export class FreeMacKind extends Kind {
  readonly #object: FreeMacObject;

  constructor(object: FreeMacObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `see whether MAC ${formatMac(this.#object.mac)} is free on ${this.#object.bridge}`;
  }

  override commands(_netns: string): string[] {
    return [
      `bridge fdb show br ${shellWord(this.#object.bridge)} | grep ${formatMac(this.#object.mac)} # nobody else may have it`,
    ];
  }

  override make(kernel: Kernel): void {
    applyFreeMac(kernel, this.#object);
  }
}

/**
 * Looks after the pair was made and before its port is up. So of two that ask for one address at the same time each is seen
 * by the other, and the later link gives way.
 * @throws CniError 102 that names the holder
 */
function applyFreeMac(kernel: Kernel, object: FreeMacObject): void {
  const mac = formatMac(object.mac);
  const own = kernel.index("host", object.port);
  const bridge = kernel.link("host", object.bridge);
  if (bridge.mac === mac) throw taken(mac, `bridge ${bridge.name}`);
  const stations = listStations(kernel.host, bridge.index);
  for (const station of stations) {
    const { link } = station;
    if (link.index === own) {
      if (link.mac === mac) throw taken(mac, `link ${link.name}, the host's end of this very attachment`);
      continue;
    }
    if (link.mac === mac) throw taken(mac, `link ${link.name}, a port of bridge ${bridge.name}`);
    /* One that is younger than ours and still down is of a call that is as far as this one, and will see ours. */
    const younger = link.index > own && !link.up;
    if (!younger && isBehind(station, mac)) throw taken(mac, `the link behind ${portWords(link)}`);
  }
  for (const entry of listForwarding(kernel.host, bridge.index, mac)) {
    if (entry.port === own) continue;
    const port = stations.find((station) => station.link.index === entry.port)?.link ?? bridge;
    /*
     * What was learned behind another port may be long gone from there, as after a move to this node; behind a pod's port it
     * is in use inside the pod, by a virtual machine for instance.
     */
    if (entry.permanent) throw taken(mac, `bridge ${bridge.name}, which has it as its own at ${port.name}`);
    if (port.alias.startsWith(OWNER_MARK)) throw taken(mac, `somebody behind ${portWords(port)}`);
  }
}

/** Whether a port's other end has the address, or had it when it was made and may have it again. */
function isBehind({ link, peerMac }: Station, mac: string): boolean {
  if (peerMac === mac) return true;
  const words = link.alias.split(" ");
  const [, network = "", containerId = "", ifname = ""] = words;
  if (!link.alias.startsWith(OWNER_MARK) || words.length !== 4) return false;
  const names = attachmentNames({ network, containerId, ifname });
  return names.hostLink === link.name && formatMac(names.containerMac) === mac;
}

function portWords(link: Link): string {
  return link.alias.startsWith(OWNER_MARK)
    ? `${link.name} (${link.alias.slice(OWNER_MARK.length)}: network, container, interface)`
    : link.name;
}

function taken(mac: string, holder: string): CniError {
  return new CniError(
    CONFLICT,
    `the requested MAC ${mac} is taken by ${holder}`,
    "two links of one address on a bridge get each other's packets; ask for another MAC, or for none",
  );
}
