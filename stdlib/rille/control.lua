--- Who has the running job in hand: nobody as a rule, else a test or a check of it. Where a job meets the outside (its
--- inputs, its start, its waits) the library asks the holder.
---@class rille.Holder
---@field input fun(self, ssc: rille.StreamingContext, node: table, make: fun(site: string?): rille.core.DStream): rille.core.DStream
---@field starting fun(self, ssc: rille.StreamingContext) before the primitive streams are made
---@field await fun(self, ssc: rille.StreamingContext, ms: integer): boolean -1: for ever
---@field sleep fun(self, ms: integer)

---@class rille.Control
---@field holder rille.Holder?
return { holder = nil }
