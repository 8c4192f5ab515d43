/* ranks_mpi: the transport of compress/ranks.h through MPI: the one file that knows it. A module of its own, loaded when mpirun started the program,
 * so that nobody else pays for MPI. Only the thread that opened it calls it. */
#include <mpi.h>

#include <stdlib.h>

#include "compress/ranks.h"

static MPI_Comm ours = MPI_COMM_NULL; /* errors return; tags are ours alone */

static const char *open_mpi(int *rank, int *n)
{
    int level;

    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0); /* who waits sleeps; a yield in every test would cost a time slice of whatever else runs */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS || level < MPI_THREAD_FUNNELED)
        return "MPI does not work in a program with threads";
    if (MPI_Comm_dup(MPI_COMM_WORLD, &ours) != MPI_SUCCESS || MPI_Comm_set_errhandler(ours, MPI_ERRORS_RETURN) != MPI_SUCCESS) return "MPI cannot join the ranks";
    MPI_Comm_rank(ours, rank);
    MPI_Comm_size(ours, n);
    return NULL;
}

static MPI_Request broken; /* the request of a message that could not even begin */

/* A request on the heap: its callers hold pointers. Messages are below 2^31 bytes: chunks. */
static void *keep(int failed, MPI_Request request)
{
    MPI_Request *p = failed ? NULL : malloc(sizeof *p);

    if (!p) return &broken;
    *p = request;
    return p;
}

static void *send_bytes(const void *bytes, size_t n, int to, int tag)
{
    MPI_Request request;
    const int failed = MPI_Isend(bytes, (int)n, MPI_BYTE, to, tag, ours, &request) != MPI_SUCCESS;

    return keep(failed, request);
}

static void *receive_bytes(void *bytes, size_t n, int from, int tag)
{
    MPI_Request request;
    const int failed = MPI_Irecv(bytes, (int)n, MPI_BYTE, from, tag, ours, &request) != MPI_SUCCESS;

    return keep(failed, request);
}

static int is_done(void **request)
{
    int done = 0;

    if (!*request) return 1;
    if (*request == &broken) return -1;
    if (MPI_Test(*request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return -1;
    if (!done) return 0;
    free(*request);
    *request = NULL;
    return 1;
}

static void cancel(void **request)
{
    if (*request == &broken) return;
    MPI_Cancel(*request);
    MPI_Request_free(*request);
    free(*request);
    *request = NULL;
}

static void close_mpi(void)
{
    MPI_Comm_free(&ours);
    MPI_Finalize();
}

XC_API extern const struct xc_transport xc_transport;
const struct xc_transport xc_transport = { .version = XC_TRANSPORT_VERSION, .open = open_mpi, .send = send_bytes, .receive = receive_bytes, .done = is_done, .cancel = cancel, .close = close_mpi };
