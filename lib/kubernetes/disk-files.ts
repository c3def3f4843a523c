/** The files of the machine. Links are followed: the kubelet replaces a service account's files by changing a link. */
import { readLargeText } from "../host/directory.ts";
import { SystemError } from "../sys/errno.ts";
import { AT_FDCWD, fstatat } from "../sys/sys.ts";
import { Files, MAX_FILE } from "./files.ts";
import { ServerError } from "./server.ts";

/** S_IROTH */
const OTHERS_READ = 0o004;

export class DiskFiles extends Files {
  read(path: string): string | null {
    try {
      return readLargeText(path, MAX_FILE);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new ServerError(`cannot ${error.message}`);
    }
  }

  isPublic(path: string): boolean {
    const status = fstatat(AT_FDCWD, path, 0);
    return status !== null && (status.mode & OTHERS_READ) !== 0;
  }
}
