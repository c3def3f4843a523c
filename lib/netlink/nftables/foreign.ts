/** Other people's chains, as far as it takes to tell what becomes of a packet in them. */
import { type NetlinkSocket, writeNetfilterHeader } from "../socket.ts";
import { NFT_MSG_GETCHAIN } from "./attributes.ts";
import { decodeChain } from "./decode.ts";
import type { Chain } from "./objects.ts";

/** The chains of a family that are attached to hooks (`nft list chains ip`), in the order in which packets come to them. */
export function listHooked(socket: NetlinkSocket, family: number): Chain[] {
  let found: Chain[] = [];
  socket.dump(
    NFT_MSG_GETCHAIN,
    (writer) => {
      writeNetfilterHeader(writer, family, 0);
      writer.end();
    },
    (message) => {
      const chain = decodeChain(message.body);
      if (chain.family === family && chain.hook !== null) found.push(chain);
    },
    () => {
      found = [];
    },
  );
  return found.sort((a, b) => (a.hook?.priority ?? 0) - (b.hook?.priority ?? 0));
}
