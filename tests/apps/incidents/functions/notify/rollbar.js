exports = () => context.values.get("rollbarToken");
