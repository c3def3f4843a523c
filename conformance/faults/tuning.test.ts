/** tuning under faults, with all that it can tune. */
import { TUNING } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(TUNING);
