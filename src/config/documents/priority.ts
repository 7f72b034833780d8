import { z } from "zod";
import { priorityClasses } from "../../traffic/priority.js";
import { choice, headerName } from "./field.js";

/** `priority` of a TrafficPolicy: the class of the requests, or the header that names it. */
export const Priority = z.union([
  z.string().pipe(choice(priorityClasses)),
  z.strictObject({
    header: headerName().describe(
      "Header of the application's request that holds the class; any other value than a class is default.",
    ),
  }),
]);
export type PrioritySpec = z.infer<typeof Priority>;
