exports = () => ({ status: "pending" });
