/** `peersFile`: the peers in one file, as peers-file.ts reads it. */
import * as sys from "../../sys/sys.ts";
import { parsePeersFile } from "../peers-file.ts";
import { contentsOf, fileIdentity, opened, PeerSource, type ReadPeers } from "./source.ts";

/** 100,000 peers with names and networks of both IP versions. */
const MAX_FILE_BYTES = 32 * 1024 * 1024;

export class FileSource extends PeerSource {
  override name(): string {
    return this.value;
  }

  override hasGenerations(): boolean {
    return true;
  }

  override identity(): string {
    return fileIdentity(sys.fstatat(sys.AT_FDCWD, this.value, 0));
  }

  override read(): ReadPeers {
    const path = this.value;
    const fd = opened(sys.open(path, sys.O_RDONLY | sys.O_NONBLOCK), path);
    try {
      /* The status of the open file: another file may be renamed to the path meanwhile. */
      const status = sys.fstat(fd);
      const bytes = contentsOf(fd, path, MAX_FILE_BYTES, status?.size ?? 0);
      return { list: parsePeersFile(bytes, path), identity: fileIdentity(status) };
    } finally {
      sys.close(fd);
    }
  }
}
