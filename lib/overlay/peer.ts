/** A node of the cluster, as its record has it. */
import type { Address, Prefix } from "../ip/address.ts";

/** Another node. */
export interface Peer {
  /** Where it was read, for messages: "peers.ndjson line 7". */
  readonly place: string;
  readonly nodeIp: Address;
  /** The networks of its pods, host bits zero. */
  readonly podCidrs: readonly Prefix[];
  /** The MAC of its VXLAN device. */
  readonly mac: Uint8Array;
  /** Whether the record gives that MAC; else it is derived. */
  readonly ownMac: boolean;
}
