/** Chains of other programs, to find out what happens to a packet in them. */
import { writeNetfilterHeader } from "../netfilter.ts";
import type { NetlinkSocket } from "../socket.ts";
import { NFT_MSG_GETCHAIN } from "./attributes.ts";
import { decodeChain } from "./decode.ts";
import type { Chain } from "./objects.ts";

/** The chains of a family that are attached to hooks, by priority: `nft list chains ip`. */
export function listHooked(socket: NetlinkSocket, family: number): Chain[] {
  const writer = socket.dump(NFT_MSG_GETCHAIN);
  writeNetfilterHeader(writer, family, 0);
  writer.end();
  const found: Chain[] = [];
  for (const { body } of socket.list()) {
    const chain = decodeChain(body);
    if (chain.family === family && chain.hook !== null) found.push(chain);
  }
  return found.sort((a, b) => (a.hook?.priority ?? 0) - (b.hook?.priority ?? 0));
}
