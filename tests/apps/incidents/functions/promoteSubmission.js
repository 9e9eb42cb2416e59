exports = async (id) => ({ id, by: context.values.get("bot") });
