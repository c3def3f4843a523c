/** Elements that check the Ethernet and IP source addresses of what a pod's link sends into its bridge. Pure. */
import { type Address, formatAddress } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import type { FilterElement } from "./record.ts";

/**
 * The elements that allow a link only its Ethernet address and, with `addresses`, only those IP addresses and the link-local
 * address that follows from the Ethernet address.
 * @param link the host end's name
 * @param checkMac whether the Ethernet address is checked
 * @param addresses the IP addresses the pod may send from; null if those are not checked
 */
export function sourceCheckElements(
  link: string,
  mac: Uint8Array,
  checkMac: boolean,
  addresses: readonly Address[] | null,
): FilterElement[] {
  const chain = addresses === null ? "check_mac" : checkMac ? "check_both" : "check_address";
  const elements: FilterElement[] = [];
  if (checkMac) elements.push(elementOf("macs", `${link} . ${formatMac(mac)}`, ""));
  if (addresses !== null) {
    for (const address of [...addresses, linkLocal(mac)]) {
      elements.push(elementOf(`addresses${address.family}`, `${link} . ${formatAddress(address)}`, ""));
    }
  }
  /* Last: from then on the other sets decide what passes. */
  elements.push(elementOf("checked_links", link, `jump ${chain}`));
  return elements;
}

/**
 * The elements that allow a link that is no port of a bridge only these IP addresses and the link-local address that follows
 * from the container's Ethernet address.
 */
export function routedSourceElements(link: string, mac: Uint8Array, addresses: readonly Address[]): FilterElement[] {
  const elements: FilterElement[] = [];
  for (const address of [...addresses, linkLocal(mac)]) {
    const key = `${formatAddress(address)} . ${link}`;
    elements.push({ table: "inet", set: `sources${address.family}`, key, data: "" });
  }
  elements.push({ table: "inet", set: "checked_sources", key: link, data: "jump check_source" });
  return elements;
}

/**
 * The elements that keep isolated pods of one bridge from reaching each other through the host.
 * @param link the host's link that leads to the pod: the bridge, or its VLAN's gateway
 */
export function isolationElements(link: string, addresses: readonly Address[]): FilterElement[] {
  const elements: FilterElement[] = [];
  for (const address of addresses) {
    const key = `${formatAddress(address)} . ${link}`;
    elements.push({ table: "inet", set: `isolated${address.family}`, key, data: "" });
  }
  return elements;
}

function elementOf(set: string, key: string, data: string): FilterElement {
  return { table: "bridge", set, key, data };
}

/** fe80::/64 with the modified EUI-64 identifier of an Ethernet address (RFC 4291 appendix A). */
function linkLocal(mac: Uint8Array): Address {
  const bytes = new Uint8Array(16);
  bytes[0] = 0xfe;
  bytes[1] = 0x80;
  bytes.set(mac.subarray(0, 3), 8);
  bytes[8] = (bytes[8] ?? 0) ^ 0x02;
  bytes[11] = 0xff;
  bytes[12] = 0xfe;
  bytes.set(mac.subarray(3, 6), 13);
  return { family: 6, bytes };
}
